//! Encoder-decoders, as a user would train, score and use them.

use crate::harness::Bench;

const RECIPE: &str = r#"
task = "sequence-to-sequence"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
position = "lrpe-orthogonal"
[data]
source = "de.txt"
target_source = "en.txt"
tokenizer = "char"
context = 40
validation = 0.2
[train]
steps = 10
batch_size = 8
warmup_steps = 2
eval_every = 5
log_every = 5
"#;

/// Counting, in two languages.
fn bench() -> Bench {
    const DE: [&str; 5] = ["eins", "zwei", "drei", "vier", "zehn"];
    const EN: [&str; 5] = ["one", "two", "three", "four", "ten"];
    let lines = |words: [&str; 5]| -> String {
        (0..30).map(|i| format!("{} {} {} {}\n", words[i % 5], words[i / 5 % 5], words[i % 3], i)).collect()
    };
    let bench = Bench::new();
    bench.write("recipe.toml", RECIPE);
    bench.write("de.txt", &lines(DE));
    bench.write("en.txt", &lines(EN));
    bench
}

const TRAIN: [&str; 5] = ["train", "recipe.toml", "--out", "run", "--quiet"];

#[test]
fn an_encoder_decoder_is_trained_scored_and_asked() {
    let bench = bench();
    let done = bench.relin(&[&TRAIN[..], &["--json"]].concat()).exits(0).json().pop().unwrap();
    assert_eq!(done["event"], "done");
    assert!(done["valid_loss"].as_f64().unwrap() < 5.0 && done["valid_accuracy"].is_number(), "{done}");

    let scored =
        bench.relin(&["eval", "run", "--json", "--predictions", "out.tsv"]).exits(0).json().remove(0);
    assert_eq!((scored["split"].as_str(), scored["examples"].as_u64()), (Some("validation"), Some(6)));
    for field in ["loss", "accuracy", "exact_match", "bleu"] {
        assert!(scored[field].is_number(), "no {field} in {scored}");
    }
    let table = std::fs::read_to_string(bench.path().join("out.tsv")).unwrap();
    assert_eq!(table.lines().next(), Some("input\ttarget\tprediction\tlog_probability"));
    assert!(table.lines().count() == 7 && table.lines().all(|row| row.split('\t').count() == 4), "{table}");

    bench.write("new.jsonl", "{\"text\": \"eins zwei\", \"target\": \"one two\"}\n");
    let other = bench.relin(&["eval", "run", "--data", "new.jsonl", "--json"]).exits(0).json().remove(0);
    assert_eq!((other["split"].as_str(), other["examples"].as_u64()), (Some("all"), Some(1)));
    assert!(other.get("bleu").is_none(), "no target has four words: {other}");
    let words = bench.relin(&["eval", "run", "--split", "training"]).exits(0);
    for word in ["training", "loss", "accuracy", "exact match", "BLEU", "24 examples"] {
        assert!(words.err.contains(word), "no `{word}` in\n{}", words.err);
    }

    let ask = |beam| {
        ["generate", "run", "--prompt", "eins zwei", "--max-new-tokens", "6", "--beam", beam, "--json"]
    };
    let written = ["1", "3"].map(|beam| bench.relin(&ask(beam)).exits(0).json().remove(0));
    for written in &written {
        assert_eq!(written["event"], "generated");
        assert!(
            written["tokens"].as_u64().unwrap() <= 6 && written["log_probability"].as_f64().unwrap() < 0.0
        );
    }
    let said = bench.relin(&["generate", "run", "--prompt", "eins zwei", "--max-new-tokens", "6"]).exits(0);
    assert_eq!(said.out.trim_end_matches('\n'), written[0]["text"].as_str().unwrap());
}

#[test]
fn pairs_that_are_none_are_named_with_file_and_line() {
    let bench = bench();
    let sets = |set: &'static str| [&TRAIN[..], &["--set", set]].concat();
    let train = |set| bench.relin(&sets(set)).exits(1);
    train("data.context=12").complains(&["de.txt, line 1", "tokens", "data.context = 12"]);
    train("data.source=none.txt").complains(&["none.txt"]);
    train("data.target_source=[\"en.txt\", \"en.txt\"]").complains(&["data.target_source", "1", "found 2"]);
    bench.write("short.txt", "one\ntwo\n");
    train("data.target_source=short.txt").complains(&["short.txt", "de.txt has, 30", "found 2"]);
    bench.write("gap.txt", &format!("{}\n{}", "one\n".repeat(4), "one\n".repeat(25)));
    train("data.target_source=gap.txt").complains(&["gap.txt, line 5", "target is empty"]);
    bench.write("table.csv", "text,english\neins,one\n");
    let table = RECIPE.replace("de.txt", "table.csv").replace("target_source = \"en.txt\"\n", "");
    bench.write("table.toml", &table);
    let args = ["train", "table.toml", "--out", "other", "--quiet"];
    bench.relin(&args).exits(1).complains(&["table.csv, line 1", "`target`", "`english`"]);
    bench.write("table.toml", &table.replace("table.csv", "reversl"));
    bench.relin(&args).exits(1).complains(&["`reversl`", "did you mean `reversal`"]);
}

#[test]
fn bad_rows_of_pairs_are_skipped_when_asked() {
    let bench = bench();
    let row = |i: usize| if i % 10 == 3 { format!("eins {i},\n") } else { format!("eins {i},one {i}\n") };
    bench.write("table.csv", &format!("text,target\n{}", (0..30).map(row).collect::<String>()));
    bench.write(
        "table.toml",
        &RECIPE.replace("de.txt", "table.csv").replace("target_source = \"en.txt\"\n", ""),
    );
    let train = ["train", "table.toml", "--out", "table", "--quiet"];
    bench.relin(&train).exits(1).complains(&["table.csv, line 5, `target`", "the target is empty"]);
    let trained = bench.relin(&[&train[..], &["--skip-bad-rows"]].concat()).exits(0);
    assert!(trained.err.contains("3 bad rows skipped") && trained.err.contains("line 25"), "{}", trained.err);
    let eval = ["eval", "table", "--data", "table.csv", "--skip-bad-rows", "--json"];
    let scored = bench.relin(&eval).exits(0);
    assert!(scored.err.contains("3 bad rows skipped"), "{}", scored.err);
    assert_eq!(scored.json()[0]["examples"], 27);
}

#[test]
fn recipes_and_options_that_do_not_fit_are_refused() {
    let bench = bench();
    for (set, words) in [
        ("model.position=lrpe-decay", ["model.cross_position", "without decay"]),
        ("model.cross_position=lrpe-decay", ["model.cross_position", "without decay"]),
        ("model.cross_position=alibi", ["alibi", "softmax"]),
        ("model.cross_position=learned", ["model.cross_position", "learned"]),
        ("model.cross_position=rop", ["model.cross_position", "`rope`"]),
        ("data.validation_source=de.txt", ["data.validation_target_source", "none"]),
    ] {
        bench.relin(&[&TRAIN[..], &["--set", set]].concat()).exits(2).complains(&words);
    }
    bench.relin(&TRAIN).exits(0);
    let generate = |more: &[&str]| bench.relin(&[&["generate", "run"], more].concat());
    generate(&["--prompt", "eins", "--temperature", "0.5"]).exits(2).complains(&["--temperature", "0.5"]);
    generate(&["--prompt", "eins", "--beam", "0"]).exits(2).complains(&["--beam"]);
    generate(&[]).exits(1).complains(&["the prompt is empty"]);
    generate(&["--prompt", "été"]).exits(1).complains(&["é"]);
    bench.relin(&["eval", "run", "--lengths", "8"]).exits(2).complains(&["--lengths", "8"]);
    bench.relin(&["eval", "run", "--split", "dev"]).exits(1).complains(&["`dev`", "validation"]);
    let long = format!("text\ttarget\n{}\tone\n", "eins ".repeat(20));
    bench.write("long.tsv", &long);
    bench
        .relin(&["eval", "run", "--data", "long.tsv"])
        .exits(1)
        .complains(&["long.tsv, line 2", "101 tokens"]);
}
