//! Encoder-decoders from pairs of texts to what they write.

use std::path::Path;

use relin::eval::{SequenceOptions, evaluate_sequences};
use relin::generate::{TargetOptions, generate_target};
use relin::hub::WEIGHTS_FILE;
use relin::recipe::{Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::events::Outcome;
use relin::train::train;
use relin_kernels::rng::Rng;

use crate::watch::Watch;

fn recipe(folder: &Path, data: &str, train: &str) -> Recipe {
    let text = format!(
        "task = \"sequence-to-sequence\"\n[model]\nhidden_size = 32\nnum_hidden_layers = 1\nnum_attention_heads = 2\n\
         position = \"lrpe-orthogonal\"\n[data]\ntokenizer = \"char\"\n{data}\n[train]\nlearning_rate = 1e-2\n\
         warmup_steps = 20\nbeta2 = 0.99\nlog_every = 20\n{train}"
    );
    let file = folder.join("recipe.toml");
    std::fs::write(&file, text).unwrap();
    Recipe::parse(&SourceText::read(&file).unwrap(), &[]).unwrap()
}

/// `n` different words of four of the letters a to f, and two files that hold them forwards and backwards.
fn words(folder: &Path, n: u64) -> String {
    let letter = |at: u64| char::from(b'a' + at as u8);
    let word = |at: usize| -> String { (0..4).map(|i| letter(at as u64 / 6u64.pow(i) % 6)).collect() };
    let order = Rng::new(1, 1).permutation(6usize.pow(4));
    let words: Vec<String> = order.iter().take(n as usize).map(|&at| word(at)).collect();
    let backwards: Vec<String> = words.iter().map(|word| word.chars().rev().collect()).collect();
    let [a, b] = ["forwards.txt", "backwards.txt"].map(|name| folder.join(name));
    std::fs::write(&a, words.join("\n")).unwrap();
    std::fs::write(&b, backwards.join("\n")).unwrap();
    format!("source = {a:?}\ntarget_source = {b:?}\ncontext = 6\nvalidation = 0.2")
}

/// Guessing four of six letters gets one word in 1296 right, and a model that knows all letters but not their order
/// one in 24 at most.
#[test]
fn words_that_were_never_seen_are_reversed() {
    let folder = tempfile::tempdir().unwrap();
    let data = words(folder.path(), 800);
    let recipe = recipe(folder.path(), &data, "steps = 500\nbatch_size = 32\neval_every = 250");
    let run = folder.path().join("run");
    let mut watch = Watch::default();
    train(&recipe, &run, Resume::None, &mut watch).unwrap();
    let predictions = folder.path().join("predictions.tsv");
    let options = SequenceOptions { predictions: Some(predictions.clone()), ..SequenceOptions::default() };
    let scores = evaluate_sequences(&run, &options, &mut |_, _| {}).unwrap();
    assert_eq!((scores.split.as_str(), scores.examples, scores.tokens), ("validation", 160, 800));
    assert!(scores.exact_match > 0.8, "{scores:?}");
    assert!(watch.accuracies.contains(&scores.exact_match), "greedy writing is right where each token is");
    assert_eq!(scores.bleu, None, "one word has no run of four");

    let table = std::fs::read_to_string(predictions).unwrap();
    let mut rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    assert_eq!(rows.next().unwrap(), ["input", "target", "prediction", "log_probability"]);
    let rows: Vec<_> = rows.collect();
    let right = rows.iter().filter(|row| row[1] == row[2]).count();
    assert_eq!((rows.len(), right as f64 / 160.0), (160, scores.exact_match));
    for row in &rows[..5] {
        assert_eq!(row[0].chars().rev().collect::<String>(), row[1]);
        let write = |beam| {
            let options = TargetOptions { prompt: row[0].into(), max_new_tokens: 10, beam };
            generate_target(&run, &options).unwrap()
        };
        let [greedy, beam] = [write(1), write(4)];
        assert_eq!(greedy.text, row[2]);
        assert!((greedy.log_probability - row[3].parse::<f64>().unwrap()).abs() < 1e-6);
        let score = |target: &relin::generate::Target| target.log_probability / (target.tokens + 1) as f64;
        assert!(score(&beam) >= score(&greedy));
    }
}

#[test]
fn an_interruption_changes_no_weight() {
    let folder = tempfile::tempdir().unwrap();
    let data = words(folder.path(), 60);
    let train_keys =
        "steps = 40\nbatch_size = 8\neval_every = 20\ndropout = 0.1\ngradient_checkpointing = true";
    let recipe = recipe(folder.path(), &data, train_keys);
    let [whole, broken] = ["whole", "broken"].map(|name| folder.path().join(name));
    train(&recipe, &whole, Resume::None, &mut ()).unwrap();
    let mut stopping = Watch::until(20);
    let stopped = train(&recipe, &broken, Resume::None, &mut stopping).unwrap();
    assert!(matches!(stopped, Outcome::Stopped { step: 20 }));
    train(&recipe, &broken, Resume::Auto, &mut ()).unwrap();
    let weights = [&whole, &broken].map(|run| std::fs::read(run.join(WEIGHTS_FILE)).unwrap());
    assert!(weights[0] == weights[1]);
}
