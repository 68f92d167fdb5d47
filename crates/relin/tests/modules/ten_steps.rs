//! Ten updates from a seed, against the same ten made by `benchmarks/peers/torch_lm.py` in PyTorch: data, initial
//! weights, forward, backward, clipping, schedule and AdamW at once.

use relin::recipe::{Recipe, SourceText};
use relin::runlog::Resume;
use relin::train::train;

use crate::watch::Watch;

/// `torch_lm.py train --recipe-json ten.toml --data text.txt --threads 1 --steps 10 --warmup 1 --report-every 1
/// --no-eval --json`, torch 2.15.0, with the recipe and the text below.
const PYTORCH: [f64; 10] = [
    3.2354187965393066,
    3.1902339458465576,
    3.159118413925171,
    3.108515501022339,
    3.0958595275878906,
    3.0573487281799316,
    3.0939645767211914,
    3.0082125663757324,
    3.073167324066162,
    3.08536958694458,
];

const RECIPE: &str = r#"
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
position = "lrpe-orthogonal"
initializer_range = 0.02
[data]
source = "SOURCE"
tokenizer = "char"
context = 16
[train]
steps = 10
batch_size = 4
learning_rate = 0.01
position_learning_rate_ratio = 1.0
angle_optimizer = "adamw"
warmup_steps = 2
log_every = 1
eval_every = 0
save_every = 0
"#;

#[test]
fn ten_steps_are_pytorchs() {
    let folder = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("line {i} of {} rhymes with {}\n", i * i % 97, i * 31 % 89);
    let source = folder.path().join("text.txt");
    std::fs::write(&source, (0..400).map(line).collect::<String>()).unwrap();
    let recipe = folder.path().join("ten.toml");
    std::fs::write(&recipe, RECIPE.replace("SOURCE", &source.display().to_string())).unwrap();
    let recipe = Recipe::parse(&SourceText::read(&recipe).unwrap(), &[]).unwrap();
    let mut watch = Watch::default();
    train(&recipe, &folder.path().join("run"), Resume::None, &mut watch).unwrap();
    for (step, (loss, expected)) in watch.losses.iter().zip(PYTORCH).enumerate() {
        // Single precision on both sides; ten steps apart they differ by 3e-7 where this was recorded.
        assert!((loss - expected).abs() < 1e-5, "step {}: {loss} against {expected}", step + 1);
    }
    assert_eq!(watch.losses.len(), 10);
}
