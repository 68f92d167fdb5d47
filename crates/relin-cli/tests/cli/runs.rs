//! Training, scoring and writing, as a user would.

use crate::harness::Bench;

/// A model that trains in a second.
pub const TINY: &str = r#"
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
position = "lrpe-orthogonal"
[data]
source = "text.txt"
tokenizer = "char"
context = 16
[train]
steps = 24
batch_size = 4
dropout = 0.1
warmup_steps = 4
eval_every = 8
save_every = 6
log_every = 4
"#;

/// Verses that no model learns by heart in a second.
pub fn text() -> String {
    (0..400).map(|i| format!("line {} of {} rhymes with {}\n", i, i * i % 97, i * 31 % 89)).collect()
}

pub fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("tiny.toml", TINY);
    bench.write("text.txt", &text());
    bench
}

pub const TRAIN: [&str; 5] = ["train", "tiny.toml", "--out", "run", "--quiet"];

#[test]
fn train_tells_its_story_in_json_and_leaves_a_whole_folder() {
    let bench = bench();
    let said = bench.relin(&["train", "tiny.toml", "--out", "run", "--json", "--quiet"]).exits(0);
    let lines = said.json();
    let last = lines.last().unwrap();
    assert_eq!((last["event"].as_str(), last["steps"].as_u64()), (Some("done"), Some(24)));
    assert!(
        last["valid_loss"].as_f64().unwrap() < 3.6,
        "less than the logarithm of the 36 characters' number: {last}"
    );
    for key in ["train_loss", "tokens_per_second", "seconds", "parameters"] {
        assert!(last[key].as_f64().unwrap() > 0.0, "{key}: {last}");
    }
    let steps: Vec<_> =
        lines.iter().filter(|line| line["event"] == "step").map(|l| l["step"].as_u64()).collect();
    assert_eq!(steps, [4, 8, 12, 16, 20, 24].map(Some));
    assert_eq!(lines.iter().filter(|line| line["event"] == "eval").count(), 3);
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
        "recipe.toml",
        "metrics.jsonl",
        "loss.svg",
        "state",
    ] {
        assert!(bench.path().join("run").join(file).exists(), "{file}");
    }
}

/// Training, scoring and writing with a learned bias: its table is saved, and the session goes on where the whole ends.
#[test]
fn softmax_attention_with_a_bias() {
    let bench = bench();
    for position in ["t5", "{ type = \"shaw\", max_distance = 4 }", "alibi", "xpos"] {
        let run = &position[..2].replace("{ ", "shaw");
        let set = format!("model.position={position}");
        let train =
            ["train", "tiny.toml", "--out", run, "--json", "--quiet", "--set", "model.attention=softmax"];
        let done = bench.relin(&[&train[..], &["--set", &set]].concat()).exits(0).json();
        let loss = done.last().unwrap()["valid_loss"].as_f64().unwrap();
        assert!(loss < 3.6, "{position}: {loss}");
        let score = bench.relin(&["eval", run, "--json"]).exits(0).json();
        assert!((score[0]["loss"].as_f64().unwrap() - loss).abs() < 1e-6, "{position}: {}", score[0]);
        bench.relin(&["generate", run, "--prompt", "line 3", "--max-new-tokens", "8"]).exits(0);
    }
}

#[test]
fn a_moved_folder_scores_as_it_did() {
    let bench = bench();
    let done = bench.relin(&["train", "tiny.toml", "--out", "run", "--json", "--quiet"]).exits(0).json();
    let loss = done.last().unwrap()["valid_loss"].as_f64().unwrap();
    std::fs::rename(bench.path().join("run"), bench.path().join("moved")).unwrap();
    let scores = bench.relin(&["eval", "moved", "--json", "--lengths", "16,32"]).exits(0).json();
    assert_eq!(scores.len(), 2);
    assert!((scores[0]["loss"].as_f64().unwrap() - loss).abs() < 1e-6, "{} against {loss}", scores[0]);
    let perplexity = scores[0]["perplexity"].as_f64().unwrap();
    assert!((perplexity.ln() - loss).abs() < 1e-6);
    // Plain ASCII: one byte a character.
    let bits = scores[0]["bits_per_byte"].as_f64().unwrap();
    assert!((bits * std::f64::consts::LN_2 - loss).abs() < 1e-6);
    assert_eq!(scores[0]["tokens"], scores[1]["tokens"], "every target counts once at every length");
    let plot = |path: &str| std::fs::read_to_string(bench.path().join(path)).unwrap();
    let drawn = plot("moved/lengths.svg");
    assert!(drawn.contains("moved, validation") && drawn.contains("trained at 16"), "{drawn}");
    let training = bench.relin(&["eval", "moved", "--json", "--split", "training"]).exits(0).json();
    assert_eq!(training[0]["split"], "training");
    bench.relin(&["eval", "moved", "--split", "test"]).exits(1).complains(&["`test`", "`validation`"]);
    let other = bench.relin(&["eval", "moved", "--data", "text.txt", "--json"]).exits(0).json();
    assert_eq!(other[0]["tokens"].as_u64().unwrap() as usize, text().len() - 1);
}

#[test]
fn a_finished_run_is_not_trained_again_nor_overwritten_by_another_recipe() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let before = std::fs::read(bench.path().join("run/model.safetensors")).unwrap();
    bench.relin(&TRAIN).exits(0);
    let other = ["train", "tiny.toml", "--out", "run", "--set", "train.steps=30"];
    bench.relin(&other).exits(1).complains(&["finished", "train.steps"]);
    assert_eq!(std::fs::read(bench.path().join("run/model.safetensors")).unwrap(), before);
}

#[test]
fn gradient_checkpointing_changes_no_weight() {
    let bench = bench();
    bench.relin(&["train", "tiny.toml", "--out", "plain", "--quiet"]).exits(0);
    let set = ["--set", "train.gradient_checkpointing=true"];
    bench.relin(&[&["train", "tiny.toml", "--out", "checkpointed", "--quiet"], &set[..]].concat()).exits(0);
    let weights = |run: &str| std::fs::read(bench.path().join(run).join("model.safetensors")).unwrap();
    assert!(weights("plain") == weights("checkpointed"), "to the byte");
}

#[test]
fn bpe_and_bytes_train_too() {
    let bench = bench();
    for (name, sets) in
        [("bpe", vec!["data.tokenizer=bpe", "data.vocab_size=300"]), ("byte", vec!["data.tokenizer=byte"])]
    {
        let mut args = vec!["train", "tiny.toml", "--quiet", "--json", "--out", name];
        sets.iter().for_each(|set| args.extend(["--set", set]));
        bench.relin(&args).exits(0);
        let text =
            bench.relin(&["generate", name, "--prompt", "line ", "--max-new-tokens", "5", "--json"]).exits(0);
        assert_eq!(text.json()[0]["tokens"], 5, "{name}");
    }
}

#[test]
fn a_session_in_a_file_continues_the_text_exactly() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    let write_with = |seed: &str, args: &[&str]| {
        let fixed = ["generate", "run", "--json", "--seed", seed];
        bench.relin(&[&fixed, args].concat()).exits(0).json()[0]["text"].as_str().unwrap().to_owned()
    };
    let write = |args: &[&str]| write_with("3", args);
    // 150 tokens cross the folding of the state (64 tokens) in several places.
    let whole = write(&["--prompt", "line 7", "--max-new-tokens", "150"]);
    let first = write(&["--prompt", "line 7", "--max-new-tokens", "97", "--save-state", "a.state"]);
    let second = write(&["--load-state", "a.state", "--max-new-tokens", "53"]);
    assert_eq!(first + &second, whole);
    let greedy = ["--prompt", "line 7", "--max-new-tokens", "20", "--temperature", "0"];
    assert_eq!(write(&greedy), write_with("9", &greedy), "the likeliest token depends on no seed");
    let stopped = write(&["--prompt", "line 7", "--max-new-tokens", "150", "--stop", "\n"]);
    assert_eq!(stopped, whole.split('\n').next().unwrap());

    bench.relin(&["train", "tiny.toml", "--out", "other", "--quiet", "--seed", "1"]).exits(0);
    let foreign = ["generate", "other", "--load-state", "a.state"];
    bench.relin(&foreign).exits(1).complains(&["a.state", "session of the model"]);
    let bytes = std::fs::read(bench.path().join("a.state")).unwrap();
    std::fs::write(bench.path().join("a.state"), &bytes[..bytes.len() - 5]).unwrap();
    bench.relin(&["generate", "run", "--load-state", "a.state"]).exits(1).complains(&["a.state"]);
}

#[test]
fn a_probe_is_scored_at_any_length_beside_chance() {
    let bench = Bench::new();
    let sets = ["train.steps=20", "model.hidden_size=16", "model.num_hidden_layers=1", "data.context=16"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let train = [&["train", "lag-retrieval", "--out", "run", "--quiet"][..], &sets].concat();
    bench.relin(&train).exits(0);
    let scores = bench.relin(&["eval", "run", "--lengths", "16,64", "--json"]).exits(0).json();
    assert_eq!((scores.len(), scores[1]["length"].as_u64()), (2, Some(64)));
    assert_eq!(scores[0]["chance"].as_f64(), Some(1.0 / 16.0));
    assert!(!bench.path().join("one.svg").exists());
    bench.relin(&["eval", "run", "--lengths", "32", "--plot", "one.svg"]).exits(0);
    let plot = |path: &str| std::fs::read_to_string(bench.path().join(path)).unwrap();
    assert!(plot("run/lengths.svg").contains("chance") && plot("one.svg").contains("accuracy"));
    bench.relin(&["eval", "run", "--split", "test"]).exits(2).complains(&["--split", "makes its own"]);
    bench.relin(&["eval", "run", "--lengths", "1"]).exits(1).complains(&["length 1", "at least 8"]);
    bench.relin(&["generate", "run"]).exits(1).complains(&["recipe.toml", "`causal-lm`"]);
    bench.relin(&["eval", "run", "--data", "text.txt"]).exits(2).complains(&["--data", "makes its own"]);
    bench
        .relin(&["train", "lag-retrieval", "--set", "data.probe.lags=0"])
        .exits(2)
        .complains(&["`data.probe.lags`"]);
}
