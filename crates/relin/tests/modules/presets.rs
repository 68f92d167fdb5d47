//! Every name that `model.position` takes, trained for 200 steps: the loss falls, and a run that was interrupted ends
//! with the same bytes as one that was not.

use std::path::Path;

use relin::hub::WEIGHTS_FILE;
use relin::recipe::{BIAS_PRESETS, Position, Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::events::Outcome;
use relin::train::train;

use crate::watch::Watch;

const STEPS: usize = 200;

const RECIPE: &str = r#"
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
attention = "ATTENTION"
position = "POSITION"
[data]
source = "SOURCE"
tokenizer = "char"
context = 32
[train]
steps = 200
batch_size = 4
learning_rate = 0.01
warmup_steps = 20
dropout = 0.1
log_every = 20
eval_every = 0
save_every = 0
"#;

fn recipe(name: &str, source: &Path) -> Recipe {
    let attention = if BIAS_PRESETS.contains(&name) { "softmax" } else { "linear" };
    let text = RECIPE.replace("ATTENTION", attention).replace("POSITION", name);
    let file = source.with_file_name(format!("{name}.toml"));
    std::fs::write(&file, text.replace("SOURCE", &source.display().to_string())).unwrap();
    Recipe::parse(&SourceText::read(&file).unwrap(), &[]).unwrap()
}

#[test]
fn two_hundred_steps_lower_the_loss_and_resume_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("text.txt");
    let line = |i: usize| format!("line {i} of {} rhymes with {}\n", i * i % 97, i * 31 % 89);
    std::fs::write(&source, (0..400).map(line).collect::<String>()).unwrap();
    for name in Position::names() {
        let recipe = recipe(name, &source);
        let [whole, broken] = ["whole", "broken"].map(|run| folder.path().join(format!("{name}-{run}")));
        let mut watch = Watch::default();
        train(&recipe, &whole, Resume::None, &mut watch).unwrap();
        let (first, last) = (watch.losses[0], watch.losses[watch.losses.len() - 1]);
        // Characters drawn at random would leave about 2.9 nats, their frequencies alone 2.7.
        assert!(last < 0.75 * first && last < 2.0, "{name}: from {first} to {last}");

        let mut stopping = Watch::until(100);
        let stopped = train(&recipe, &broken, Resume::None, &mut stopping).unwrap();
        assert!(matches!(stopped, Outcome::Stopped { step: 100 }), "{name}");
        let mut resumed = Watch::default();
        train(&recipe, &broken, Resume::Auto, &mut resumed).unwrap();
        assert_eq!([stopping.losses, resumed.losses].concat(), watch.losses, "{name}");
        let weights = [&whole, &broken].map(|run| std::fs::read(run.join(WEIGHTS_FILE)).unwrap());
        assert!(weights[0] == weights[1], "{name}: other weights after {STEPS} steps");
    }
}
