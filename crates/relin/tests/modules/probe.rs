//! Probes, from a recipe to scores at other lengths.

use relin::eval::{ProbeEvaluation, evaluate_probe};
use relin::recipe::{Override, Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::train;

const RECIPE: &str = r#"
task = "probe"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
initializer_range = 0.15
[data]
context = 24
[train]
steps = 300
batch_size = 16
learning_rate = 1e-2
warmup_steps = 20
beta2 = 0.99
eval_every = 0
"#;

fn scores(sets: &[&str], lengths: &[usize]) -> Vec<ProbeEvaluation> {
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (folder.path().join("probe.toml"), folder.path().join("run"));
    std::fs::write(&file, RECIPE).unwrap();
    let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
    let recipe = Recipe::parse(&SourceText::read(&file).unwrap(), &sets).unwrap();
    train(&recipe, &run, Resume::None, &mut ()).unwrap();
    let mut found = Vec::new();
    evaluate_probe(&run, lengths, &mut |scores| found.push(scores.clone())).unwrap();
    assert_eq!(found.iter().map(|scores| scores.length).collect::<Vec<_>>(), lengths);
    found
}

/// Three times as good as guessing with rotations; without positions only the newest symbols' counts help.
#[test]
fn rotations_find_the_symbol_and_no_positions_do_not() {
    let accuracies = ["lrpe-orthogonal", "none"].map(|position| {
        let position = format!("model.position={position}");
        let found = scores(&[&position, "data.probe.symbols=4", "data.probe.lags=3"], &[24, 48]);
        assert!(found.iter().all(|scores| scores.chance == 0.25 && scores.answers > 5000), "{found:?}");
        found[0].accuracy
    });
    assert!(accuracies[0] > 0.75 && accuracies[1] < 0.6, "{accuracies:?}");
}

/// Powers of one cycle select a lag exactly, with features that need only be positive.
#[test]
fn one_long_cycle_retrieves_any_lag() {
    let cycle =
        ["model.position=lrpe-permutation", "model.position.cycle=single", "model.num_attention_heads=1"];
    let found = scores(&[&cycle[..], &["data.probe.symbols=8", "data.probe.lags=8"]].concat(), &[24]);
    assert!(found[0].accuracy > 0.97, "{found:?}");
}

/// A real kernel that is even in the lag sees both neighbours and cannot know which is which.
#[test]
fn only_what_is_not_even_in_the_lag_tells_left_from_right() {
    let accuracy = |position: &str| {
        let position = format!("model.position={position}");
        // A single head, whose cycle is longer than the sequence.
        let head = "model.num_attention_heads=1";
        scores(&["data.probe.kind=direction", "data.probe.symbols=4", head, &position], &[24])[0].accuracy
    };
    let even = |rest: &str| format!("{{type=\"lrpe\",spacing=\"linear\",{rest}}}");
    for position in [
        even("family=\"orthogonal\""),
        even("family=\"permutation\",cycle=\"single\""),
        format!("{{type=\"decay\",inner={}}}", even("family=\"orthogonal\"")),
        "{type=\"lrpe\",family=\"unitary\",basis=\"fourier\",spacing=\"cyclic\"}".into(),
    ] {
        let position = position.as_str();
        assert!(accuracy(position) > 0.9, "{position}: {}", accuracy(position));
    }
    for position in [&even("family=\"unitary\""), "none"] {
        assert!(accuracy(position) < 0.6, "{position}: {}", accuracy(position));
    }
}

/// Each with at least twice the chance of 1 in 4.
#[test]
fn every_other_kind_is_learned() {
    let position = "model.position={type=\"lrpe\",family=\"orthogonal\",spacing=\"linear\"}";
    for kind in ["copy", "selective-copy", "induction", "associative-recall"] {
        let kind = format!("data.probe.kind={kind}");
        let sets = [&kind, "data.probe.symbols=4", "data.probe.items=4", position];
        let found = scores(&sets, &[24]);
        assert!(found[0].accuracy > 2.0 * found[0].chance, "{kind}: {found:?}");
    }
}
