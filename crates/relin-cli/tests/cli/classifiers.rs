//! Classifiers, as a user would train and score them.

use crate::harness::Bench;

const RECIPE: &str = r#"
task = "text-classification"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
position = "lrpe-orthogonal"
[data]
source = "mail.csv"
tokenizer = "char"
context = 32
validation = 0.2
text_column = "message"
label_column = "kind"
[train]
steps = 60
batch_size = 8
learning_rate = 1e-2
warmup_steps = 10
eval_every = 30
log_every = 10
"#;

/// Messages with or without a word, some of them quoted.
fn table(rows: usize) -> String {
    let row = |i: usize| match i % 3 {
        0 => format!("spam,\"win, win {i}\"\n"),
        _ => format!("ham,hello number {i}\n"),
    };
    format!("kind,message\n{}", (0..rows).map(row).collect::<String>())
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("recipe.toml", RECIPE);
    bench.write("mail.csv", &table(90));
    bench
}

const TRAIN: [&str; 5] = ["train", "recipe.toml", "--out", "run", "--quiet"];

#[test]
fn a_classifier_is_trained_scored_and_its_choices_exported() {
    let bench = bench();
    let done = bench.relin(&["train", "recipe.toml", "--out", "run", "--json", "--quiet"]).exits(0).json();
    let done = done.last().unwrap().clone();
    assert_eq!(done["event"], "done");
    assert!(done["valid_accuracy"].as_f64().unwrap() > 0.9, "two thirds are ham: {done}");

    bench.write("new.csv", &table(30));
    let args = ["eval", "run", "--data", "new.csv", "--predictions", "out.tsv", "--json"];
    let scored = bench.relin(&args).exits(0).json().remove(0);
    assert_eq!((scored["event"].as_str(), scored["examples"].as_u64()), (Some("eval"), Some(30)));
    assert_eq!(scored["classes"][1]["label"], "spam");
    assert_eq!(scored["confusion"][1].as_array().unwrap().len(), 2);
    let table = std::fs::read_to_string(bench.path().join("out.tsv")).unwrap();
    assert_eq!(table.lines().next(), Some("example\tlabel\tprediction\tprobability"));
    assert_eq!(table.lines().count(), 31);

    let words = bench.relin(&["eval", "run"]).exits(0);
    let plot = |path: &str| std::fs::read_to_string(bench.path().join(path)).unwrap();
    assert!(plot("run/confusion.svg").contains("run, validation"));
    bench.relin(&["eval", "run", "--data", "new.csv", "--plot", "all.svg"]).exits(0);
    assert!(plot("all.svg").contains("run, all") && plot("run/confusion.svg").contains("run, validation"));
    let unwritable = bench.relin(&["eval", "run", "--plot", "recipe.toml/a.svg"]).exits(1);
    assert!(unwritable.err.contains("error:") && unwritable.err.contains("a.svg"), "{}", unwritable.err);
    for word in ["validation", "accuracy", "macro F1", "precision", "spam", "18 examples"] {
        assert!(words.err.contains(word), "no `{word}` in\n{}", words.err);
    }
}

#[test]
fn what_is_wrong_with_examples_is_named() {
    let bench = bench();
    let sets = |set: &'static str| [&TRAIN[..], &["--set", set]].concat();
    bench.relin(&sets("data.label_column=class")).exits(1).complains(&[
        "mail.csv, line 1",
        "`class`",
        "`kind`",
    ]);
    bench.write("mail.csv", "kind,message\nspam,a\nham\n");
    bench.relin(&TRAIN).exits(1).complains(&["mail.csv, line 3", "expected 2 columns", "found 1"]);
    bench.relin(&sets("data.source=none.csv")).exits(1).complains(&["none.csv"]);
    let images = ["task=\"image-classification\"", "--set", "model.patch_size=4", "--set", "data.source=."];
    let args = [&TRAIN[..], &["--set"], &images[..]].concat();
    bench.relin(&args).exits(1).complains(&["train-images-idx3-ubyte"]);
}

#[test]
fn a_class_that_was_not_trained_and_options_of_other_models_are_refused() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    bench.write("new.csv", "kind,message\nham,hello\nphish,click\n");
    bench.relin(&["eval", "run", "--data", "new.csv"]).exits(1).complains(&["new.csv, line 3", "`phish`"]);
    bench.relin(&["eval", "run", "--lengths", "64"]).exits(2).complains(&["--lengths", "64"]);
    bench.relin(&["eval", "run", "--split", "dev"]).exits(1).complains(&["`dev`", "validation"]);
    bench.relin(&["generate", "run"]).exits(1).complains(&["config.json", "relin-classifier"]);
}
