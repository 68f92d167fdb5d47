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
    bench.relin(&args).exits(1).complains(&["no images", "train-images-idx3-ubyte"]);
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

const IMAGES: &str = r#"
task = "image-classification"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
patch_size = 16
position = "lrpe-orthogonal"
[data]
source = "cifar"
context = 4
validation = 0.2
normalize = true
augment = { shift = 1, flip = true, rand_augment = { operations = 1, magnitude = 2 }, mixup = 0.2, cutmix = 0.2 }
[train]
steps = 60
batch_size = 8
learning_rate = 1e-2
warmup_steps = 5
drop_path = 0.05
label_smoothing = 0.1
log_every = 10
"#;

/// Records of CIFAR-10: pictures that are red or blue.
fn records(n: usize) -> Vec<u8> {
    let pixel = |class: usize, at: usize| {
        if at / 1024 == 2 * class { 200 + (at % 40) as u8 } else { (at % 50) as u8 }
    };
    let record = |class: usize| std::iter::once(class as u8).chain((0..3072).map(move |at| pixel(class, at)));
    (0..n).flat_map(|at| record(at % 2)).collect()
}

#[test]
fn a_classifier_of_cifar_is_trained_with_every_variation_and_scored() {
    let bench = Bench::new();
    bench.write("recipe.toml", IMAGES);
    let folder = bench.path().join("cifar");
    std::fs::create_dir(&folder).unwrap();
    (1..=5).for_each(|batch| {
        std::fs::write(folder.join(format!("data_batch_{batch}.bin")), records(20)).unwrap()
    });
    std::fs::write(folder.join("test_batch.bin"), records(10)).unwrap();
    std::fs::write(folder.join("batches.meta.txt"), "red\nblue\n").unwrap();
    bench.relin(&TRAIN).exits(0);
    let scored = bench.relin(&["eval", "run", "--data", "cifar", "--json"]).exits(0).json().remove(0);
    assert_eq!((scored["split"].as_str(), scored["examples"].as_u64()), (Some("test"), Some(10)));
    assert_eq!(scored["classes"][1]["label"], "blue");
    assert!(scored["accuracy"].as_f64().unwrap() > 0.9, "{scored}");
    let recipe = std::fs::read_to_string(bench.path().join("run/recipe.toml")).unwrap();
    for key in ["image_mean", "image_std", "num_channels = 3"] {
        assert!(recipe.contains(key), "no {key} in\n{recipe}");
    }
    bench.relin(&["eval", "run", "--split", "training"]).exits(0);
    bench.relin(&TRAIN).exits(0);
    std::fs::write(folder.join("test_batch.bin"), &records(1)[..99]).unwrap();
    let broken = bench.relin(&["eval", "run", "--data", "cifar"]).exits(1);
    broken.complains(&["test_batch.bin", "records of 3073 bytes", "found 99"]);
}
