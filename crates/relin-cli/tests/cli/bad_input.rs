//! Bad input: one clear message that names what and where, the right exit status, no panic.

use crate::harness::Bench;
use crate::runs::{TRAIN, bench};

/// `train` with one key changed.
fn train(bench: &Bench, set: &str) -> crate::harness::Said {
    bench.relin(&["train", "tiny.toml", "--out", "run", "--quiet", "--set", set])
}

#[test]
fn data_that_is_not_there_or_too_little() {
    let bench = bench();
    bench.write("empty.txt", "");
    bench.write("short.txt", "only a few words");
    train(&bench, "data.source=nowhere.txt").exits(1).complains(&["nowhere.txt"]);
    train(&bench, "data.source=empty.txt").exits(1).complains(&["empty.txt", "empty"]);
    train(&bench, "data.source=short.txt").exits(1).complains(&["17"]);
    train(&bench, "data.source=*.nothing").exits(1).complains(&["*.nothing"]);
}

#[test]
fn bytes_that_are_no_text() {
    let bench = bench();
    let mut bytes = crate::runs::text().into_bytes();
    bytes[1000] = 0xff;
    std::fs::write(bench.path().join("raw.bin"), bytes).unwrap();
    for tokenizer in ["char", "bpe"] {
        let sets = ["--set", "data.source=raw.bin", "--set", &format!("data.tokenizer={tokenizer}")];
        let args = [&["train", "tiny.toml", "--out", "run", "--quiet"], &sets[..]].concat();
        bench.relin(&args).exits(1).complains(&["raw.bin", "1000", "UTF-8"]);
    }
    let sets = ["--set", "data.source=raw.bin", "--set", "data.tokenizer=byte"];
    bench.relin(&[&["train", "tiny.toml", "--out", "bytes", "--quiet"], &sets[..]].concat()).exits(0);
}

#[test]
fn recipes_that_contradict_themselves() {
    let bench = bench();
    for (set, words) in [
        ("model.positon=rope", vec!["model.positon", "model.position"]),
        ("model.position=lrpe-unitry", vec!["lrpe-unitry", "lrpe-unitary"]),
        ("model.hidden_size=18", vec!["head size", "even", "9"]),
        ("data.context=0", vec!["data.context", "0"]),
        ("train.batch_size=0", vec!["train.batch_size", "0"]),
        ("model.num_attention_heads=3", vec!["num_attention_heads", "3"]),
        ("train.dropout=1.5", vec!["train.dropout", "1.5"]),
        ("train.schedule=cosin", vec!["cosin", "cosine"]),
        (
            "model.position=alibi",
            vec!["alibi", "adds a bias to the logits", "attention = \"softmax\"", "\"decay\""],
        ),
        ("model.position={ type = \"t5\" }", vec!["t5", "no product", "\"conv-spe\""]),
        (
            "model.position={ type = \"lrpe\", family = \"orthogonal\", basis = \"fourier\" }",
            vec!["fourier", "unitary"],
        ),
        (
            "model.position={ type = \"lrpe\", family = \"permutation\", learn_theta = true }",
            vec!["learn_theta", "angles"],
        ),
        ("model.position={ type = \"lrpe\", rotated = \"half\" }", vec!["rotated is set", "orthogonal"]),
        ("model.position={ type = \"lrpe\", cycle = \"single\" }", vec!["cycle is set", "permutation"]),
        (
            "model.position={ type = \"lrpe\", basis = \"dct\", reflections = 4 }",
            vec!["reflections is set", "householder"],
        ),
    ] {
        train(&bench, set).exits(2).complains(&words);
        assert!(!bench.path().join("run").exists(), "{set} left a folder");
    }
    let mixed = [
        "--set",
        "model.hidden_size=4",
        "--set",
        "model.position={ type = \"lrpe\", family = \"orthogonal\", rotated = \"half\" }",
    ];
    bench.relin(&[&TRAIN[..], &mixed[..]].concat()).exits(2).complains(&["at least 3", "2"]);
}

#[test]
fn prompts_that_the_tokenizer_does_not_know() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let said = bench.relin(&["generate", "run", "--prompt", "line €"]).exits(1);
    said.complains(&["€", "5"]);
    bench.relin(&["generate", "run", "--prompt-file", "none.txt"]).exits(1).complains(&["none.txt"]);
    bench.relin(&["generate", "nowhere"]).exits(1).complains(&["nowhere"]);
}

/// Changes one file of a finished run, and asks for a text.
fn with_changed(file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>, words: &[&str]) {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let path = bench.path().join("run").join(file);
    std::fs::write(&path, change(std::fs::read(&path).unwrap())).unwrap();
    bench.relin(&["generate", "run"]).exits(1).complains(words);
    bench.relin(&["eval", "run"]).exits(1).complains(words);
}

fn replaced(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        text.replace(from, to).into_bytes()
    }
}

#[test]
fn damaged_or_foreign_checkpoints() {
    let flipped = |mut bytes: Vec<u8>| {
        let at = bytes.len() - 3;
        bytes[at] ^= 16;
        bytes
    };
    with_changed("model.safetensors", flipped, &["model.safetensors", "damaged"]);
    with_changed(
        "model.safetensors",
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        &["model.safetensors", "whole"],
    );
    with_changed(
        "config.json",
        replaced("\"relin_layout\": 1", "\"relin_layout\": 2"),
        &["config.json", "version 2"],
    );
    with_changed(
        "config.json",
        replaced("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
        &["model.safetensors", "layers.1"],
    );
    with_changed(
        "config.json",
        replaced("\"intermediate_size\": 64", "\"intermediate_size\": 32"),
        &["model.safetensors", "[32, 16]", "[64, 16]"],
    );
    with_changed("config.json", replaced("relin-causal-lm", "llama"), &["config.json", "llama"]);
    with_changed("config.json", |_| b"{".to_vec(), &["config.json"]);
}

#[test]
fn a_run_that_diverges_names_the_place() {
    let bench = bench();
    let sets =
        ["--set", "train.learning_rate=1e30", "--set", "train.warmup_steps=0", "--set", "train.grad_clip=0"];
    let said = bench.relin(&[&TRAIN[..], &sets[..]].concat()).exits(1);
    assert!(said.err.contains("diverged") && said.err.contains("model."), "{}", said.err);
}
