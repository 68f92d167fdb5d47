//! Lag retrieval, from a recipe to scores at other lengths.

use relin::eval::{ProbeEvaluation, evaluate_probe};
use relin::recipe::{Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::events::{Eval, Observer, Start, Step};
use relin::train::train;

const RECIPE: &str = r#"
task = "probe"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
position = "POSITION"
[data]
probe = { symbols = 4, lags = 3 }
context = 24
[train]
steps = 400
batch_size = 16
learning_rate = 1e-2
warmup_steps = 20
eval_every = 0
"#;

struct Quiet;

impl Observer for Quiet {
    fn started(&mut self, _: &Start) {}
    fn step(&mut self, _: &Step) {}
    fn eval(&mut self, _: &Eval) {}
}

/// Three times as good as guessing with rotations; without positions only the newest symbols' counts help.
#[test]
fn rotations_find_the_symbol_and_no_positions_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let accuracies = ["lrpe-orthogonal", "none"].map(|position| {
        let (file, run) = (folder.path().join("probe.toml"), folder.path().join(position));
        std::fs::write(&file, RECIPE.replace("POSITION", position)).unwrap();
        let recipe = Recipe::parse(&SourceText::read(&file).unwrap(), &[]).unwrap();
        train(&recipe, &run, Resume::None, &mut Quiet).unwrap();
        let mut found: Vec<ProbeEvaluation> = Vec::new();
        evaluate_probe(&run, &[24, 48], &mut |scores| found.push(scores.clone())).unwrap();
        assert_eq!(found.iter().map(|scores| scores.length).collect::<Vec<_>>(), [24, 48]);
        assert!(found.iter().all(|scores| scores.chance == 0.25 && scores.answers > 5000), "{found:?}");
        found[0].accuracy
    });
    assert!(accuracies[0] > 0.75 && accuracies[1] < 0.6, "{accuracies:?}");
}
