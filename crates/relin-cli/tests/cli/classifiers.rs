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

#[test]
fn bad_rows_are_skipped_when_asked_and_remembered() {
    let bench = bench();
    let bad: String = (0..23).map(|i| format!("ham,\nham,one,{i}\n")).collect();
    bench.write("mail.csv", &(table(90) + &bad));
    bench.relin(&TRAIN).exits(1).complains(&["mail.csv, line 92", "the text is empty"]);
    let skipping = [&TRAIN[..], &["--skip-bad-rows"]].concat();
    let said = bench.relin(&skipping).exits(0).err;
    for words in ["warning: 46 bad rows skipped", "line 93: expected 2 columns, found 3", "and 26 more"] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    assert!(!said.contains("line 112:"), "twenty are listed:\n{said}");
    // Scored again without the option: the run knows.
    let words = bench.relin(&["eval", "run"]).exits(0).err;
    assert!(words.contains("18 examples"), "{words}");
    bench.relin(&TRAIN).exits(0);

    bench.write("new.csv", "kind,message\nham,hello\nspam\n");
    bench.write("other.toml", RECIPE);
    bench.write("mail.csv", &table(90));
    bench.relin(&["train", "other.toml", "--out", "strict", "--quiet"]).exits(0);
    bench.relin(&["eval", "strict", "--data", "new.csv"]).exits(1).complains(&["new.csv, line 3", "found 1"]);
    let said = bench.relin(&["eval", "strict", "--data", "new.csv", "--skip-bad-rows"]).exits(0).err;
    assert!(said.contains("1 bad row skipped") && said.contains("(1 examples)"), "{said}");
    bench
        .relin(&["train", "--skip-bad-rows"])
        .exits(2)
        .complains(&["--skip-bad-rows", "text-classification"]);
}

#[test]
fn an_interrupted_run_skips_again_what_it_skipped() {
    let bench = bench();
    bench.write("mail.csv", &(table(90) + "ham\n"));
    let part = [&TRAIN[..], &["--set", "train.save_every=20", "--skip-bad-rows"]].concat();
    bench.relin(&part).exits(0);
    // As if stopped after step 40: the end is forgotten.
    let metrics = bench.path().join("run/metrics.jsonl");
    let lines = std::fs::read_to_string(&metrics).unwrap();
    let kept: String =
        lines.lines().filter(|line| !line.contains("\"done\"")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&metrics, kept).unwrap();
    let states = std::fs::read_dir(bench.path().join("run/state")).unwrap();
    let newest = states.map(|state| state.unwrap().path()).max().unwrap();
    std::fs::remove_dir_all(newest).unwrap();
    let said = bench.relin(&[&TRAIN[..], &["--set", "train.save_every=20"]].concat()).exits(0).err;
    assert!(said.contains("1 bad row skipped"), "{said}");
}

#[test]
fn texts_without_classes_are_predicted_and_not_scored() {
    let bench = bench();
    bench.relin(&TRAIN).exits(0);
    bench.write("new.csv", "id,message\n1,hello number 5\n2,\"win, win 3\"\n");
    bench
        .relin(&["eval", "run", "--data", "new.csv"])
        .exits(1)
        .complains(&["column `kind`", "--predictions"]);
    let args = ["eval", "run", "--data", "new.csv", "--predictions", "out.tsv"];
    let said = bench.relin(&args).exits(0);
    assert!(said.err.contains("2 examples have no class") && !said.err.contains("accuracy"), "{}", said.err);
    let json = bench.relin(&[&args[..], &["--json"]].concat()).exits(0).json().remove(0);
    assert_eq!((json["event"].as_str(), json["examples"].as_u64()), (Some("predicted"), Some(2)));
    let table = std::fs::read_to_string(bench.path().join("out.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.iter().map(|row| (row[1], row[2])).collect::<Vec<_>>(), [("", "ham"), ("", "spam")]);
}

#[test]
fn classes_may_be_folders_and_bytes_need_not_be_text() {
    let bench = bench();
    for i in 0..40 {
        let (class, text) = if i % 2 == 0 { ("pos", "good caf\u{e9}") } else { ("neg", "bad") };
        let folder = bench.path().join(format!("aclImdb/train/{class}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(bench.path().join("aclImdb/train/unsup")).unwrap();
        let latin: Vec<u8> = format!("{text} {i}").chars().map(|c| c as u8).collect();
        std::fs::write(folder.join(format!("{i}_7.txt")), latin).unwrap();
    }
    let folders = ["--set", "data.source=aclImdb/train", "--set"];
    let bytes = [&TRAIN[..], &folders, &["data.tokenizer=byte", "--json"]].concat();
    let done = bench.relin(&bytes).exits(0).json().pop().unwrap();
    assert!(done["valid_accuracy"].as_f64().unwrap() > 0.9, "{done}");
    let chars =
        [&["train", "recipe.toml", "--out", "chars"][..], &folders, &["data.tokenizer=char"]].concat();
    bench.relin(&chars).exits(1).complains(&["pos", "invalid UTF-8"]);
    std::fs::create_dir(bench.path().join("aclImdb/train/middling")).unwrap();
    let none = [&["train", "recipe.toml", "--out", "none"][..], &folders, &["data.tokenizer=byte"]].concat();
    bench.relin(&none).exits(1).complains(&["class `middling` has no file"]);
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

/// The number is how many of the ten letters are `a`.
#[test]
fn a_regression_foretells_numbers_and_draws_them() {
    let bench = Bench::new();
    let rng = |i: usize, at: usize| (i * 7919 + at * at * 31 + i * at * 17) % 23 < 4 + i % 15;
    let text = |i: usize| (0..10).map(|at| if rng(i, at) { 'a' } else { 'b' }).collect::<String>();
    let row = |i: usize| format!("{}\t{}\n", text(i).matches('a').count() * 10, text(i));
    bench.write("letters.tsv", &format!("score\ttext\n{}", (0..200).map(row).collect::<String>()));
    let recipe = RECIPE
        .replace("text-classification", "text-regression")
        .replace("mail.csv", "letters.tsv")
        .replace("message", "text")
        .replace("kind", "score")
        .replace("steps = 60", "steps = 150");
    bench.write("recipe.toml", &recipe);
    bench.relin(&TRAIN).exits(0);
    let scored =
        bench.relin(&["eval", "run", "--json", "--predictions", "out.tsv"]).exits(0).json().remove(0);
    for (score, least) in [("pearson", 0.9), ("spearman", 0.9)] {
        assert!(scored[score].as_f64().unwrap() > least, "guessing has 0: {scored}");
    }
    assert!(scored["rmse"].as_f64().unwrap() < 15.0 && scored["loss"].as_f64().unwrap() < 0.5, "{scored}");
    let table = std::fs::read_to_string(bench.path().join("out.tsv")).unwrap();
    assert_eq!((table.lines().next(), table.lines().count()), (Some("example\tnumber\tprediction"), 41));
    let plot = std::fs::read_to_string(bench.path().join("run/scatter.svg")).unwrap();
    assert!(plot.contains("run, validation") && plot.contains("prediction"));

    bench.write("new.tsv", "text\nabab\n");
    bench.relin(&["eval", "run", "--data", "new.tsv"]).exits(1).complains(&["none of the 1", "`score`"]);
    let predicted = bench.relin(&["eval", "run", "--data", "new.tsv", "--predictions", "out.tsv", "--json"]);
    assert_eq!(predicted.exits(0).json()[0]["event"], "predicted");
    bench.write("letters.tsv", "score\ttext\n3\tab\nmany\ta\n4\taa\n");
    let again =
        ["train", "recipe.toml", "--out", "other", "--quiet", "--set", "data.validation_source=letters.tsv"];
    bench.relin(&again).exits(1).complains(&["letters.tsv, line 3", "`many`"]);
}
