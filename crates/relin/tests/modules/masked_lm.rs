//! Masked language models, and classifiers that begin with one.

use std::path::Path;

use burn::tensor::Device;
use relin::eval::{ClassOptions, EvalOptions, evaluate, evaluate_classes};
use relin::hub::{adopt, read_config, read_weights};
use relin::model::{Classifier, Seq2Seq, named_tensors};
use relin::recipe::{ModelConfig, Override, Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::train;
use relin_kernels::rng::Rng;

const MODEL: &str = r#"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
initializer_range = 0.15
position = { type = "lrpe", family = "orthogonal", spacing = "linear" }
[train]
steps = 250
batch_size = 8
learning_rate = 1e-2
warmup_steps = 20
beta2 = 0.99
eval_every = 0
save_every = 0
[data]
"#;

fn run(folder: &Path, name: &str, text: &str, sets: &[&str]) -> Result<(), String> {
    let file = folder.join("recipe.toml");
    std::fs::write(&file, text).unwrap();
    let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let recipe = Recipe::parse(&SourceText::read(&file).unwrap(), &sets).unwrap();
    train(&recipe, &folder.join(name), Resume::None, &mut ()).map(drop).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })
}

/// The alphabet up or down, from any letter on: a letter follows from two of its neighbours.
fn alphabets(lines: usize, seed: u64) -> Vec<String> {
    let rng = Rng::new(seed, 7);
    let line = |at: u64| {
        let (first, down) = (rng.below(2 * at, 26), rng.below(2 * at + 1, 2) == 1);
        let step = if down { 25 } else { 1 };
        (0..20).map(|i| char::from(b'a' + ((first + i * step) % 26) as u8)).collect()
    };
    (0..lines as u64).map(line).collect()
}

fn masked(folder: &Path) -> String {
    let file = folder.join("letters.txt");
    std::fs::write(&file, alphabets(400, 1).join("\n")).unwrap();
    format!("task = \"masked-lm\"\n{MODEL}source = {file:?}\ntokenizer = \"char\"\ncontext = 42\n")
}

/// One guess in 26 would be right.
#[test]
fn letters_are_told_from_their_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "run", &masked(folder.path()), &["train.steps=700", "data.validation=0.2"]).unwrap();
    let mut found = Vec::new();
    let options = EvalOptions { lengths: vec![42, 84], ..EvalOptions::default() };
    evaluate(&folder.path().join("run"), &options, &mut |scores| found.push(scores.clone())).unwrap();
    assert!(found[0].accuracy > 0.8 && found[0].bits_per_byte.is_none(), "{found:?}");
    assert_eq!(found[1].length, 84);
}

#[test]
fn a_classifier_begins_with_the_trunk_of_a_masked_language_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(path, "letters", &masked(path), &["train.steps=40"]).unwrap();
    let letters = path.join("letters");
    let mut config: ModelConfig = read_config(&letters.join("config.json")).unwrap();
    (config.vocab_size, config.labels) = (Some(27), Some(vec!["down".into(), "up".into()]));
    let fresh = Classifier::new(&config, 3, &Device::flex()).unwrap();
    let before = named_tensors(&fresh);
    let after = named_tensors(&adopt(fresh, &config, &letters).unwrap());
    let given = read_weights(&letters.join("model.safetensors")).unwrap().tensors;
    for (before, after) in before.iter().zip(&after) {
        match given.iter().find(|given| given.name == after.name) {
            // The masked model has one token more, its mask.
            Some(given) => assert_eq!(after.data[..], given.data[..after.data.len()], "{}", after.name),
            None => assert_eq!(after, before),
        }
    }
    assert!(after.iter().filter(|tensor| tensor.name.starts_with("model.")).count() > 10);

    config.labels.as_mut().unwrap().push("both".into());
    let three = Classifier::new(&config, 3, &Device::flex()).unwrap();
    let adopted = named_tensors(&adopt(three, &config, &letters).unwrap());
    assert!(adopted.iter().any(|tensor| tensor.name == "score.weight" && tensor.shape == [3, 32]));

    let translator = Seq2Seq::new(&config, 3, &Device::flex()).unwrap();
    let refused = adopt(translator, &config, &letters).unwrap_err();
    let reason = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        reason.contains("shared.weight") && refused.to_string().contains("model.safetensors"),
        "{reason}"
    );

    config.hidden_size = 64;
    let other = Classifier::new(&config, 3, &Device::flex()).unwrap();
    let refused = adopt(other, &config, &letters).unwrap_err().to_string();
    assert!(refused.contains("model.hidden_size is 64, there 32"), "{refused}");
}

#[test]
fn fine_tuning_takes_the_tokenizer_along_and_ends_in_a_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(path, "letters", &masked(path), &["train.steps=150"]).unwrap();
    let rows = alphabets(120, 2).into_iter().map(|line| {
        let up = (line.as_bytes()[1] + 26 - line.as_bytes()[0]) % 26 == 1;
        format!("{}\t{line}\n", if up { "up" } else { "down" })
    });
    let table = path.join("table.tsv");
    std::fs::write(&table, format!("label\ttext\n{}", rows.collect::<String>())).unwrap();
    let text = format!(
        "task = \"text-classification\"\n{MODEL}source = {table:?}\ntokenizer = \"char\"\ncontext = 42\n"
    );
    let from = format!("train.init_from={}", path.join("letters").display());
    run(path, "tuned", &text, &["train.steps=120", "data.validation=0.3", &from]).unwrap();
    let tokenizers =
        ["letters", "tuned"].map(|run| std::fs::read(path.join(run).join("tokenizer.json")).unwrap());
    assert!(tokenizers[0] == tokenizers[1]);
    let scores = evaluate_classes(&path.join("tuned"), &ClassOptions::default(), &mut |_, _| {}).unwrap();
    assert!(scores.accuracy > 0.8, "chance is 0.5: {scores:?}");

    let missing = run(path, "lost", &text, &["train.init_from=nowhere"]).unwrap_err();
    assert!(missing.contains("nowhere"), "{missing}");
}
