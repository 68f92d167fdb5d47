//! Classifiers of texts and images, from files to scores.

use std::path::Path;

use burn::tensor::Device;
use relin::data::{Examples, Input};
use relin::eval::{ClassOptions, evaluate_classes};
use relin::hub::WEIGHTS_FILE;
use relin::model::{Classifier, load_tensors, named_tensors};
use relin::ops::to_vec;
use relin::recipe::{ModelConfig, Normalizer, Pair, Pooling, Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::events::Outcome;
use relin::train::train;
use relin_kernels::rng::Rng;

use crate::support::{tiny, tiny_normalized, tiny_softmax};
use crate::watch::Watch;

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
    let mut stopping = Watch::until(60);
    let stopped = train(recipe, &broken, Resume::None, &mut stopping).unwrap();
    assert!(matches!(stopped, Outcome::Stopped { step: 60 }));
    train(recipe, &broken, Resume::Auto, &mut ()).unwrap();
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
    let options =
        ClassOptions { predictions: Some(predictions.clone()), data: Some(other), ..ClassOptions::default() };
    let scores = evaluate_classes(&run, &options, &mut |_, _| {}).unwrap();
    assert_eq!((scores.split.as_str(), scores.examples, scores.classes.len()), ("all", 100, 2));
    assert!(scores.accuracy > 0.85 && scores.matthews > 0.7, "{scores:?}");
    let table = std::fs::read_to_string(predictions).unwrap();
    let right = table.lines().skip(1).filter(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        columns[1] == columns[2]
    });
    assert_eq!((table.lines().count(), right.count() as f64 / 100.0), (101, scores.accuracy));
    let held_out = evaluate_classes(&run, &ClassOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!((held_out.split.as_str(), held_out.examples), ("validation", 60));
    assert!(accuracies.contains(&held_out.accuracy), "the weights kept are some that were scored");
}

/// A letter of two among others in either text; the class names both.
fn table_of_pairs(rows: usize, seed: u64) -> String {
    let rng = Rng::new(seed, 3);
    let row = |row: u64| {
        let draw = |at: u64, below| rng.below(100 * row + at, below);
        let others = |at: u64| "z".repeat(draw(at, 4) as usize);
        let (first, second) = (["a", "b"][draw(1, 2) as usize], ["c", "d"][draw(2, 2) as usize]);
        let left = format!("{}{first}{}", others(3), others(4));
        let right = format!("{}{second}{}", others(5), others(6));
        format!("{first}{second}\t{left}\t{right}\n")
    };
    let rows: String = (0..rows as u64).map(row).collect();
    format!("label\tleft\tright\n{rows}")
}

/// Neither text alone says more than one half of the class.
#[test]
fn pairs_of_texts_are_classified_by_both_joined_and_by_two_towers() {
    let folder = tempfile::tempdir().unwrap();
    let [table, single] = ["pairs.tsv", "single.tsv"].map(|name| folder.path().join(name));
    std::fs::write(&table, table_of_pairs(600, 1)).unwrap();
    std::fs::write(&single, "label\tleft\nalike\taz\n").unwrap();
    for (pair, pooling) in [("joined", "cls"), ("two-tower", "mean")] {
        let recipe = recipe(
            folder.path(),
            &format!(
                "task = \"text-classification\"\n[model]\nposition = \"rope\"\nabsolute = \"learned\"\npooling = \"{pooling}\"\n\
                 pair = \"{pair}\"\ninitializer_range = 0.1{MODEL}[data]\nsource = {table:?}\ntext_column = \"left\"\n\
                 text_pair_column = \"right\"\ntokenizer = \"char\"\ncontext = 24\n[train]\nsteps = 160{TRAIN}"
            ),
        );
        let home = folder.path().join(pair);
        std::fs::create_dir(&home).unwrap();
        let accuracies = train_twice(&recipe, &home);
        let best = accuracies.iter().copied().fold(0.0, f64::max);
        assert!(best > 0.9, "{pair}: one text tells no more than half of the classes apart: {accuracies:?}");
        let run = home.join("whole");
        let held_out = evaluate_classes(&run, &ClassOptions::default(), &mut |_, _| {}).unwrap();
        assert!(accuracies.contains(&held_out.accuracy), "{pair}: {held_out:?}");
        let options = ClassOptions { data: Some(single.clone()), ..ClassOptions::default() };
        let error = evaluate_classes(&run, &options, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("single.tsv, line 1: no column `right`"), "{error}");
    }
}

/// Sequences padded with tokens that mean something.
fn padded(texts: &[&[u32]], examples: usize) -> Examples {
    let length = texts.iter().map(|text| text.len()).max().unwrap();
    let padded = |text: &&[u32]| text.iter().copied().chain([1; 9]).take(length).collect::<Vec<_>>();
    let (input, lengths) =
        (texts.iter().flat_map(padded).collect(), texts.iter().map(|text| text.len()).collect());
    Examples {
        input: Input::Tokens(input),
        length,
        lengths,
        labels: vec![0; examples],
        values: None,
        second: None,
    }
}

fn three_classes(config: ModelConfig) -> ModelConfig {
    ModelConfig { labels: Some(["a", "b", "c"].map(String::from).to_vec()), ..config }
}

#[track_caller]
fn assert_alike(found: &[f32], expected: &[f32], name: &str) {
    let equal = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(equal && found.len() == expected.len(), "{name}: {found:?}, with others {expected:?}");
}

/// What an example is padded with changes nothing, in any kind of attention, however its states are pooled.
#[test]
fn padding_does_not_leak() {
    let texts: [&[u32]; 3] = [&[3, 1, 4], &[1, 5, 9, 2, 6, 5, 3, 5], &[8, 9]];
    for config in [
        tiny("lrpe-unitary"),
        tiny_normalized("rope", Normalizer::Plain),
        tiny_normalized("lrpe-decay", Normalizer::Plain),
        tiny("sine-spe"),
        tiny("sinusoidal"),
        tiny_softmax("t5"),
        ModelConfig { stem: vec![6, 10], ..tiny("lrpe-orthogonal") },
        ModelConfig { ngrams: vec![2, 3], ngram_buckets: 50, ..tiny("lrpe-orthogonal") },
    ] {
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let config = three_classes(ModelConfig { pooling, ..config.clone() });
            let model = Classifier::new(&config, 3, &Device::flex()).unwrap();
            let together = to_vec(model.logits(&padded(&texts, 3)));
            for (text, expected) in texts.iter().zip(together.chunks(3)) {
                let alone = to_vec(model.logits(&padded(&[text], 1)));
                assert_alike(&alone, expected, &format!("{}, {pooling:?}", config.position));
            }
        }
    }
}

/// Two towers pad both texts of a pair to the longest of the batch; the order of the texts counts.
#[test]
fn padding_does_not_leak_into_two_towers() {
    let texts: [&[u32]; 4] = [&[3, 1, 4], &[1, 5, 9, 2, 6, 5, 3, 5], &[8, 9], &[7]];
    for pooling in [Pooling::Mean, Pooling::Cls] {
        let config = three_classes(ModelConfig { pooling, pair: Pair::TwoTower, ..tiny("lrpe-orthogonal") });
        let model = Classifier::new(&config, 3, &Device::flex()).unwrap();
        let together = to_vec(model.logits(&padded(&texts, 2)));
        for (pair, expected) in texts.chunks(2).zip(together.chunks(3)) {
            let alone = to_vec(model.logits(&padded(pair, 1)));
            assert_alike(&alone, expected, &format!("{pooling:?}"));
            let turned = to_vec(model.logits(&padded(&[pair[1], pair[0]], 1)));
            assert!(
                turned.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-4),
                "{turned:?} {expected:?}"
            );
        }
    }
}

/// The vector before a sequence takes position 0, and is what is read: without attention nothing else reaches it.
#[test]
fn a_leading_vector_is_at_position_zero() {
    let config = three_classes(ModelConfig { pooling: Pooling::Cls, ..tiny("lrpe-orthogonal") });
    let model = Classifier::new(&config, 3, &Device::flex()).unwrap();
    let tensors = named_tensors(&model);
    let cls = tensors.iter().find(|tensor| tensor.name == "cls.weight").unwrap();
    assert_eq!(cls.shape, [1, 16]);
    let plain =
        named_tensors(&Classifier::new(&three_classes(tiny("lrpe-orthogonal")), 3, &Device::flex()).unwrap());
    let others: Vec<_> = tensors.iter().filter(|tensor| tensor.name != "cls.weight").collect();
    assert!(others.into_iter().eq(&plain), "the other weights are those of a model without it");

    // A token with the leading vector's embedding, first of a text, is the leading vector of another model.
    let mut spelled = tensors.clone();
    let width = cls.shape[1];
    let vector = cls.data.clone();
    for tensor in &mut spelled {
        if tensor.name == "model.embed_tokens.weight" {
            tensor.data[7 * width..8 * width].copy_from_slice(&vector);
        }
    }
    let spelled: Vec<_> = spelled.into_iter().filter(|tensor| tensor.name != "cls.weight").collect();
    let mean = Classifier::new(&three_classes(tiny("lrpe-orthogonal")), 3, &Device::flex()).unwrap();
    let mean = load_tensors(mean, spelled).unwrap();
    let states = |model: &Classifier, text: &[u32]| to_vec(model.states(&padded(&[text], 1)));
    assert_alike(&states(&model, &[3, 1, 4]), &states(&mean, &[7, 3, 1, 4]), "states");
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

/// With patches that are projected, and with patches that a stem makes of pixels.
#[test]
fn images_are_told_apart_by_where_they_are_bright() {
    let folder = tempfile::tempdir().unwrap();
    quarters(folder.path(), "train", 400, 1);
    quarters(folder.path(), "t10k", 80, 2);
    let grid = "{ type = \"grid\", shape = [4, 4], inner = { type = \"lrpe\", family = \"orthogonal\" } }";
    for stem in ["[]", "[12]"] {
        let recipe = recipe(
            folder.path(),
            &format!(
                "task = \"image-classification\"\n[model]\npatch_size = 2\nstem = {stem}\nabsolute = \"learned\"\n\
                 position = {grid}{MODEL}[data]\nsource = {:?}\ncontext = 16\n[train]\nsteps = 160{TRAIN}",
                folder.path()
            ),
        );
        let home = folder.path().join(stem);
        std::fs::create_dir(&home).unwrap();
        let accuracies = train_twice(&recipe, &home);
        let run = home.join("whole");
        let test = ClassOptions { split: Some("test".into()), ..ClassOptions::default() };
        let scores = evaluate_classes(&run, &test, &mut |_, _| {}).unwrap();
        assert_eq!((scores.examples, scores.classes.len()), (80, 4));
        assert!(scores.accuracy > 0.9, "chance is a quarter, stem {stem}: {accuracies:?}, {scores:?}");
        let unknown = ClassOptions { split: Some("dev".into()), ..ClassOptions::default() };
        let error = evaluate_classes(&run, &unknown, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("`dev`") && error.contains("`test`"), "{error}");
    }
}

/// A language model is no classifier, and is told so.
#[test]
fn a_run_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[model]{MODEL}[data]\ncontext = 16\n[train]\nsteps = 1{TRAIN}eval_batches = 1");
    let run = folder.path().join("lm");
    train(&recipe(folder.path(), &text), &run, Resume::None, &mut ()).unwrap();
    let error = evaluate_classes(&run, &ClassOptions::default(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("relin-classifier"), "{error}");
}
