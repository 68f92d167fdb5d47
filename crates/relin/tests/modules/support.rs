//! Reproducible data, tensors of it, comparison, and tiny models.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use relin::data::Batch;
use relin::model::CausalLm;
use relin::ops::to_vec;
use relin::recipe::{AttentionKind, FeatureMap, ModelConfig, Normalizer, OutputNorm, Position};
use relin_kernels::encoding::EncodingConfig;
use relin_kernels::encoding::spe::SineSpeConfig;
use relin_kernels::feature_map::RandomFeatures;
use relin_kernels::rng::Rng;

/// Some dozens of roundings of 6e-8: a gradient in f32 against the kernel's own in f64, or logits made in two orders.
pub const ROUNDING: f64 = 2e-6;

/// `n` standard normal numbers.
pub fn normals(stream: u64, n: usize) -> Vec<f32> {
    let rng = Rng::new(2_026, stream);
    (0..n as u64).map(|i| rng.normal(i) as f32).collect()
}

/// The same numbers in double precision.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// `n` tokens below `vocab`.
pub fn tokens(stream: u64, n: usize, vocab: usize) -> Vec<u32> {
    let rng = Rng::new(2_026, stream);
    (0..n as u64).map(|i| rng.below(i, vocab as u64) as u32).collect()
}

/// A tensor without a graph.
pub fn plain<const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), &Device::flex())
}

/// A tensor whose gradient is wanted.
pub fn leaf<const D: usize>(data: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), &Device::flex().autodiff()).require_grad()
}

/// The gradients of `Σ cotangent ∘ out`.
pub fn pull_back<const D: usize>(out: Tensor<D>, cotangent: &[f32]) -> Gradients {
    let shape = out.dims();
    (out * plain(cotangent, shape).autodiff()).sum().backward()
}

/// A leaf's gradient.
#[track_caller]
pub fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    to_vec(leaf.grad(gradients).expect("a gradient reached the leaf"))
}

/// `‖found − expected‖ / ‖expected‖`.
pub fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    let error: f64 = found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    if error == 0.0 { 0.0 } else { (error / size).sqrt() }
}

/// Fails unless the difference's root mean square is within `tolerance` of that of `expected`.
#[track_caller]
pub fn assert_close(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: lengths differ");
    assert!(found.iter().all(|v| v.is_finite()), "{name} is not finite everywhere");
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{name}: relative error {error:e}");
}

/// The elements' bits, so that comparisons tell 0 from −0.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Tokens of the tiny models' vocabulary.
pub const VOCAB: usize = 23;

/// Two layers of two heads of eight features. The weights are ten times as large as usual, so that attention moves
/// the logits.
pub fn tiny(position: &str) -> ModelConfig {
    ModelConfig {
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: Some(24),
        vocab_size: Some(VOCAB),
        position: Position::Preset(position.into()),
        attention_chunk: 16,
        initializer_range: Some(0.2),
        ..ModelConfig::default()
    }
}

/// A tiny model with softmax attention.
pub fn tiny_softmax(position: &str) -> ModelConfig {
    ModelConfig { attention: AttentionKind::Softmax, ..tiny(position) }
}

/// Stochastic encoding with one code for all layers, before random features.
pub fn shared_codes() -> ModelConfig {
    let spe = SineSpeConfig { shared: true, sines: 3, realizations: 16, ..SineSpeConfig::default() };
    // No shift by the largest exponent, which the gradient takes for a constant.
    let features = RandomFeatures { features: 24, redraw_every: 1, stabilize: false, ..Default::default() };
    ModelConfig {
        position: Position::Table(EncodingConfig::SineSpe(spe)),
        feature_map: FeatureMap::Random(features),
        ..tiny_normalized("none", Normalizer::Plain)
    }
}

/// A tiny model with a denominator.
///
/// The sum of encoded scores passes through zero, where the quotient is ill-conditioned whatever computes it. An ε
/// of 1, the size of one score, keeps the clamped quotient within the size of its numerator, and the output norm
/// brings it back to 1.
pub fn tiny_normalized(position: &str, normalizer: Normalizer) -> ModelConfig {
    let normalizer_eps = if normalizer == Normalizer::Encoded { 1.0 } else { 1e-6 };
    let output_norm = if normalizer == Normalizer::Plain { OutputNorm::None } else { OutputNorm::Layer };
    ModelConfig { normalizer, normalizer_eps, output_norm: Some(output_norm), ..tiny(position) }
}

/// A model without a graph.
pub fn frozen(config: &ModelConfig, seed: u64) -> CausalLm {
    CausalLm::new(config, seed, &Device::flex()).unwrap()
}

/// A model that can be trained.
pub fn trainable(config: &ModelConfig, seed: u64) -> CausalLm {
    CausalLm::new(config, seed, &Device::flex().autodiff()).unwrap()
}

/// A batch of given tokens.
pub fn batch(inputs: Vec<u32>, targets: Vec<u32>, [rows, length]: [usize; 2]) -> Batch {
    Batch { inputs, targets, rows, length, segments: None }
}
