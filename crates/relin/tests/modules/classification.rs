//! Classifiers of texts and images, from files to scores.

use std::path::Path;

use burn::tensor::Device;
use relin::data::{Examples, Input};
use relin::eval::{ClassOptions, evaluate_classes};
use relin::hub::WEIGHTS_FILE;
use relin::model::Classifier;
use relin::ops::to_vec;
use relin::recipe::{ModelConfig, Normalizer, Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::events::{Eval, Observer, Outcome, Start, Step};
use relin::train::train;
use relin_kernels::rng::Rng;

use crate::support::{tiny, tiny_normalized, tiny_softmax};

const MODEL: &str = r#"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
"#;

const TRAIN: &str = r#"
batch_size = 16
learning_rate = 5e-3
warmup_steps = 20
dropout = 0.1
eval_every = 40
log_every = 20
"#;

/// Accuracies, and where to stop.
#[derive(Default)]
struct Watch {
    accuracies: Vec<f64>,
    step: usize,
    stop_at: Option<usize>,
}

impl Observer for Watch {
    fn started(&mut self, _: &Start) {}

    fn step(&mut self, step: &Step) {
        self.step = step.step;
    }

    fn eval(&mut self, eval: &Eval) {
        self.accuracies.push(eval.valid_accuracy.unwrap());
    }

    fn should_stop(&self) -> bool {
        self.stop_at.is_some_and(|at| self.step >= at)
    }
}

fn recipe(folder: &Path, text: &str) -> Recipe {
    let file = folder.join("recipe.toml");
    std::fs::write(&file, text).unwrap();
    Recipe::parse(&SourceText::read(&file).unwrap(), &[]).unwrap()
}

/// Trains whole, and again with an interruption; the weights are the same. Gives the accuracies.
fn train_twice(recipe: &Recipe, folder: &Path) -> Vec<f64> {
    let [whole, broken] = ["whole", "broken"].map(|name| folder.join(name));
    let mut watch = Watch::default();
    train(recipe, &whole, Resume::None, &mut watch).unwrap();
    let mut stopping = Watch { stop_at: Some(60), ..Watch::default() };
    let stopped = train(recipe, &broken, Resume::None, &mut stopping).unwrap();
    assert!(matches!(stopped, Outcome::Stopped { step: 60 }));
    train(recipe, &broken, Resume::Auto, &mut Watch::default()).unwrap();
    let weights = [&whole, &broken].map(|run| std::fs::read(run.join(WEIGHTS_FILE)).unwrap());
    assert!(weights[0] == weights[1], "an interruption changed the weights");
    watch.accuracies
}

/// One `x` or one `y` among other letters.
fn table_of_letters(rows: usize, seed: u64) -> String {
    let rng = Rng::new(seed, 1);
    let row = |row: u64| {
        let letter = |at: u64| char::from(b'a' + rng.below(100 * row + at, 8) as u8);
        let mut text: Vec<char> = (0..10 + rng.below(100 * row + 90, 16)).map(letter).collect();
        let at = rng.below(100 * row + 91, text.len() as u64) as usize;
        text[at] = ['x', 'y'][rng.below(100 * row + 92, 2) as usize];
        format!("with {}\t{}\n", text[at], text.iter().collect::<String>())
    };
    let rows: String = (0..rows as u64).map(row).collect();
    format!("label\ttext\n{rows}")
}

#[test]
fn texts_are_told_apart_by_a_letter() {
    let folder = tempfile::tempdir().unwrap();
    let [table, other] = ["train.tsv", "test.tsv"].map(|name| folder.path().join(name));
    std::fs::write(&table, table_of_letters(600, 1)).unwrap();
    std::fs::write(&other, table_of_letters(100, 2)).unwrap();
    let recipe = recipe(
        folder.path(),
        &format!(
            "task = \"text-classification\"\n[model]\nposition = \"lrpe-orthogonal\"{MODEL}[data]\nsource = {table:?}\n\
             tokenizer = \"char\"\ncontext = 32\n[train]\nsteps = 160{TRAIN}"
        ),
    );
    let accuracies = train_twice(&recipe, folder.path());
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    assert!(best > 0.9, "chance is one half: {accuracies:?}");

    let (run, predictions) = (folder.path().join("whole"), folder.path().join("predictions.tsv"));
    let options = ClassOptions { predictions: Some(predictions.clone()), data: Some(other), split: None };
    let scores = evaluate_classes(&run, &options).unwrap();
    assert_eq!((scores.split.as_str(), scores.examples, scores.classes.len()), ("all", 100, 2));
    assert!(scores.accuracy > 0.85 && scores.matthews > 0.7, "{scores:?}");
    let table = std::fs::read_to_string(predictions).unwrap();
    let right = table.lines().skip(1).filter(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        columns[1] == columns[2]
    });
    assert_eq!((table.lines().count(), right.count() as f64 / 100.0), (101, scores.accuracy));
    let held_out = evaluate_classes(&run, &ClassOptions::default()).unwrap();
    assert_eq!((held_out.split.as_str(), held_out.examples), ("validation", 60));
    assert!(accuracies.contains(&held_out.accuracy), "the weights kept are some that were scored");
}

/// What an example is padded with changes nothing, in any kind of attention.
#[test]
fn padding_does_not_leak() {
    let examples = |texts: &[&[u32]]| {
        let length = texts.iter().map(|text| text.len()).max().unwrap();
        let padded = |text: &&[u32]| text.iter().copied().chain([1; 9]).take(length).collect::<Vec<_>>();
        let (input, lengths) =
            (texts.iter().flat_map(padded).collect(), texts.iter().map(|t| t.len()).collect());
        Examples { input: Input::Tokens(input), length, lengths, labels: vec![0; texts.len()], second: None }
    };
    let texts: [&[u32]; 3] = [&[3, 1, 4], &[1, 5, 9, 2, 6, 5, 3, 5], &[8, 9]];
    for config in [
        tiny("lrpe-unitary"),
        tiny_normalized("rope", Normalizer::Plain),
        tiny("sine-spe"),
        tiny_softmax("t5"),
    ] {
        let config = ModelConfig { labels: Some(["a", "b", "c"].map(String::from).to_vec()), ..config };
        let model = Classifier::new(&config, 3, &Device::flex()).unwrap();
        let together = to_vec(model.logits(&examples(&texts)));
        for (text, expected) in texts.iter().zip(together.chunks(3)) {
            let alone = to_vec(model.logits(&examples(&[text])));
            let equal = alone.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(equal, "{}: {alone:?}, with others {expected:?}", config.position);
        }
    }
}

/// Four classes: the bright one of two by two quarters of an image of 8×8 pixels, in noise.
fn quarters(folder: &Path, part: &str, n: usize, seed: u64) {
    let rng = Rng::new(seed, 2);
    let class = |image: usize| rng.below((1 << 40) + image as u64, 4) as usize;
    let pixel = |at: usize| {
        let (image, row, column) = (at / 64, at % 64 / 8, at % 8);
        let bright = row / 4 * 2 + column / 4 == class(image);
        rng.below(at as u64, 120) as u8 + if bright { 60 } else { 0 }
    };
    let words = |words: &[usize]| words.iter().flat_map(|&w| (w as u32).to_be_bytes()).collect::<Vec<u8>>();
    let images = [words(&[0x803, n, 8, 8]), (0..64 * n).map(pixel).collect()].concat();
    let labels = [words(&[0x801, n]), (0..n).map(|image| class(image) as u8).collect()].concat();
    std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
    std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
}

#[test]
fn images_are_told_apart_by_where_they_are_bright() {
    let folder = tempfile::tempdir().unwrap();
    quarters(folder.path(), "train", 400, 1);
    quarters(folder.path(), "t10k", 80, 2);
    let grid = "{ type = \"grid\", shape = [4, 4], inner = { type = \"lrpe\", family = \"orthogonal\" } }";
    let recipe = recipe(
        folder.path(),
        &format!(
            "task = \"image-classification\"\n[model]\npatch_size = 2\nabsolute = \"learned\"\nposition = {grid}{MODEL}[data]\n\
             source = {:?}\ncontext = 16\n[train]\nsteps = 160{TRAIN}",
            folder.path()
        ),
    );
    let accuracies = train_twice(&recipe, folder.path());
    let run = folder.path().join("whole");
    let test = ClassOptions { split: Some("test".into()), ..ClassOptions::default() };
    let scores = evaluate_classes(&run, &test).unwrap();
    assert_eq!((scores.examples, scores.classes.len()), (80, 4));
    assert!(scores.accuracy > 0.9, "chance is a quarter: {accuracies:?}, {scores:?}");
    let unknown = ClassOptions { split: Some("dev".into()), ..ClassOptions::default() };
    let error = evaluate_classes(&run, &unknown).unwrap_err().to_string();
    assert!(error.contains("`dev`") && error.contains("`test`"), "{error}");
}

/// A language model is no classifier, and is told so.
#[test]
fn a_run_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[model]{MODEL}[data]\ncontext = 16\n[train]\nsteps = 1{TRAIN}eval_batches = 1");
    let run = folder.path().join("lm");
    train(&recipe(folder.path(), &text), &run, Resume::None, &mut Quiet).unwrap();
    let error = evaluate_classes(&run, &ClassOptions::default()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("relin-classifier"), "{error}");
}

struct Quiet;

impl Observer for Quiet {
    fn started(&mut self, _: &Start) {}
    fn step(&mut self, _: &Step) {}
    fn eval(&mut self, _: &Eval) {}
}
