//! Models whose positions are biases on the logits of softmax attention.

use relin::data::Batch;
use relin::model::{CausalLm, LossOptions, Network, for_each_parameter, gradients, map_parameters};
use relin::nn::{AttentionConfig, Kind};
use relin::recipe::{BIAS_PRESETS, Position, TrainConfig};
use relin::train::Learner;
use relin_kernels::encoding::bias::{BiasConfig, ShawConfig};
use relin_kernels::encoding::{EncodingConfig, Stage};
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::Normalizer;
use relin_kernels::rng::Rng;

use crate::support::{VOCAB, batch, frozen, tiny, tiny_softmax, tokens, trainable};

const SHAPE: [usize; 2] = [3, 40];

fn loss_and_gradients(model: &CausalLm) -> (f64, Vec<Vec<f32>>) {
    let n = SHAPE[0] * SHAPE[1];
    let options = LossOptions {
        dropout: 0.0,
        drop_path: 0.0,
        label_smoothing: 0.0,
        rng: Rng::new(0, 0),
        checkpointing: false,
        step: 0,
    };
    let mut loss = model.loss(&batch(tokens(1, n, VOCAB), tokens(2, n, VOCAB), SHAPE), options);
    (loss.value, gradients(model, &mut loss.gradients))
}

/// The loss's slope along the gradient g of the biases alone is ‖g‖².
///
/// The loss is known to some 3e-7, a thousandth of the change that the steps make.
#[test]
fn the_gradient_of_a_learned_bias_is_the_slope_of_the_loss() {
    for name in ["t5", "shaw"] {
        let model = trainable(&tiny_softmax(name), 1);
        let (_, mut gradient) = loss_and_gradients(&model);
        let mut index = 0;
        for_each_parameter(&model, |site, _| {
            if !site.name.ends_with("self_attn.position.parameters") {
                gradient[index].fill(0.0);
            }
            index += 1;
        });
        let square: f64 = gradient.iter().flatten().map(|&g| f64::from(g).powi(2)).sum();
        assert!(square > 1e-6, "{name}: {square}");
        let at = |step: f64| {
            let mut gradient = gradient.iter();
            let moved = |x: f32, g: f32| (f64::from(x) + step * f64::from(g)) as f32;
            let model = map_parameters(model.clone(), |_, values| {
                values.iter().zip(gradient.next().unwrap()).map(|(&x, &g)| moved(x, g)).collect()
            });
            loss_and_gradients(&model).0
        };
        let h = 1e-3 / square;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!((slope / square - 1.0).abs() < 3e-3, "{name}: {slope} against {square}");
    }
}

/// What follows a token is the token three places before it: only attention that knows its lags can tell.
#[test]
fn thirty_steps_lower_the_loss() {
    let batch = |rows: usize| {
        let length = 24;
        let row = |r: usize| {
            let start = tokens(r as u64, 3, VOCAB);
            (0..length + 1).map(move |t| start[t % 3]).collect::<Vec<u32>>()
        };
        let part = |from: usize| (0..rows).flat_map(|r| row(r)[from..from + length].to_vec()).collect();
        Batch { inputs: part(0), targets: part(1), rows, length, segments: None }
    };
    let decaying = ["xpos", "decay", "lrpe-decay", "permuteformer"];
    for name in BIAS_PRESETS.iter().copied().chain(decaying) {
        let mut learner = Learner::new(&tiny_softmax(name), 1).unwrap();
        let train = TrainConfig { steps: 30, warmup_steps: 2, learning_rate: 0.01, ..TrainConfig::default() };
        let losses: Vec<f64> =
            (1..=30).map(|step| learner.update(&train, step, |_| Ok(batch(8))).unwrap()).collect();
        let falls = losses[29] < 0.7 * losses[0];
        assert!(falls, "{name}: from {} to {}", losses[0], losses[29]);
    }
}

/// What the biases say changes what the model says.
#[test]
fn a_bias_changes_the_logits() {
    let logits = |position: Position| {
        let config = relin::recipe::ModelConfig { position, ..tiny_softmax("none") };
        relin::ops::to_vec(frozen(&config, 1).logits(tokens(1, 40, VOCAB), [1, 40], 0))
    };
    let none = logits(Position::Preset("none".into()));
    for name in BIAS_PRESETS {
        assert_ne!(logits(Position::Preset((*name).into())), none, "{name}");
    }
    let preset = logits(Position::Preset("shaw".into()));
    let table = |max_distance| Position::Bias(BiasConfig::Shaw(ShawConfig { max_distance, seed: 0 }));
    assert_eq!(logits(table(16)), preset);
    assert_ne!(logits(table(2)), preset);
}

#[test]
fn linear_attention_refuses_a_bias() {
    let config = AttentionConfig {
        width: 16,
        heads: 2,
        layer: 0,
        kind: Kind::Linear {
            feature_map: FeatureMap::Elu1,
            stage: Stage::AfterFeatureMap,
            normalizer: Normalizer::None,
            eps: 1e-6,
            chunk: 16,
        },
        encoding: EncodingConfig::None,
        position_bias: Some(BiasConfig::Alibi),
        output_norm: None,
        norm_eps: 1e-5,
        bias: true,
    };
    let error = config.init(&burn::tensor::Device::flex()).unwrap_err().to_string();
    assert!(error.contains("alibi") && error.contains("\"decay\""), "{error}");
    assert!(CausalLm::new(&tiny("t5"), 1, &burn::tensor::Device::flex()).is_err());
}
