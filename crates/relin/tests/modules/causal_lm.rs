//! The language model's loss: checkpoints, gradients, causality.

use relin::data::Batch;
use relin::model::{
    CausalLm, LossOptions, Network, TokenModel, for_each_parameter, gradients, map_parameters,
};
use relin::ops::{IGNORE, to_vec};
use relin::recipe::{Absolute, FeatureMap, Mlp, ModelConfig, Norm, Normalizer, OutputNorm, Position};
use relin_kernels::encoding::EncodingConfig;
use relin_kernels::encoding::spe::{NoiseMode, SineSpeConfig};
use relin_kernels::feature_map::RandomFeatures;
use relin_kernels::rng::Rng;
use relin_kernels::segments::Segment;

use crate::support::{
    VOCAB, batch, bits, frozen, shared_codes, tiny, tiny_normalized, tiny_softmax, tokens, trainable,
};

const SHAPE: [usize; 2] = [3, 37];

/// One configuration for each thing that the loss passes through. The encoded denominator is that of permuted
/// positive features: positive, so that the loss has no kink where it would reach ε.
fn variety() -> Vec<(&'static str, ModelConfig)> {
    let gated = ModelConfig {
        mlp: Mlp::Gated,
        bias: false,
        norm: Norm::Rms,
        tie_word_embeddings: false,
        output_norm: Some(OutputNorm::Rms),
        ..tiny("lrpe-type3")
    };
    let learned = ModelConfig {
        absolute: Absolute::Learned,
        max_position_embeddings: Some(SHAPE[1]),
        ..tiny("lrpe-unitary-learned")
    };
    vec![
        ("gated, untied, no biases", gated),
        ("learned positions", learned),
        ("sinusoidal positions", tiny("sinusoidal")),
        ("encoded denominator", tiny_normalized("lrpe-type7", Normalizer::Encoded)),
        ("plain denominator", tiny_normalized("lrpe-permutation", Normalizer::Plain)),
        ("softmax", tiny_softmax("lrpe-orthogonal")),
        ("softmax, learned bias", tiny_softmax("t5")),
        ("softmax, relative keys", tiny_softmax("shaw")),
        ("softmax, decay of each feature", tiny_softmax("xpos")),
        ("codes that layers share, random features", shared_codes()),
        ("filters", tiny("conv-spe")),
        ("decay", tiny_normalized("lrpe-decay", Normalizer::Plain)),
    ]
}

fn ids_and_targets() -> (Vec<u32>, Vec<u32>) {
    let n = SHAPE[0] * SHAPE[1];
    let mut targets = tokens(2, n, VOCAB);
    targets[5] = IGNORE;
    (tokens(1, n, VOCAB), targets)
}

fn options(dropout: f64, checkpointing: bool) -> LossOptions {
    LossOptions { dropout, drop_path: 0.0, label_smoothing: 0.0, rng: Rng::new(9, 4), checkpointing, step: 1 }
}

fn loss_and_gradients(model: &CausalLm, options: LossOptions) -> (f64, Vec<Vec<f32>>) {
    let (ids, targets) = ids_and_targets();
    let mut loss = model.loss(&batch(ids, targets, SHAPE), options);
    (loss.value, gradients(model, &mut loss.gradients))
}

#[test]
fn checkpointing_changes_no_bit() {
    let clamped = ("clamped denominator", tiny_normalized("lrpe-type8", Normalizer::Encoded));
    for (name, config) in variety().into_iter().chain([clamped]) {
        let model = trainable(&config, 1);
        for dropout in [0.0, 0.1] {
            let (value, kept) = loss_and_gradients(&model, options(dropout, false));
            let (again, recomputed) = loss_and_gradients(&model, options(dropout, true));
            assert_eq!(value.to_bits(), again.to_bits(), "{name}, dropout {dropout}");
            let mut names = Vec::new();
            for_each_parameter(&model, |site, _| names.push(site.name.clone()));
            for ((site, kept), recomputed) in names.iter().zip(&kept).zip(&recomputed) {
                assert_eq!(bits(kept), bits(recomputed), "{name}, dropout {dropout}: {site}");
                assert!(kept.iter().any(|&g| g != 0.0), "{name}: no gradient in {site}");
            }
        }
    }
}

/// Memory that operators take over from one another is written before it is read.
#[test]
fn what_memory_held_before_changes_no_bit() {
    for (name, config) in variety() {
        let model = trainable(&config, 1);
        let clean = loss_and_gradients(&model, options(0.1, false));
        relin_kernels::buffers::poison(true);
        let poisoned = loss_and_gradients(&model, options(0.1, false));
        let undropped = loss_and_gradients(&model, options(0.0, false)).0;
        relin_kernels::buffers::poison(false);
        assert_eq!(clean, poisoned, "{name}");
        assert!(undropped.is_finite(), "{name}");
    }
}

#[test]
fn dropout_depends_on_its_generator_alone() {
    let model = trainable(&tiny("rope"), 1);
    let with = |rng| loss_and_gradients(&model, LossOptions { rng, ..options(0.1, false) });
    assert_eq!(with(Rng::new(9, 4)), with(Rng::new(9, 4)));
    assert_ne!(with(Rng::new(9, 4)).0, with(Rng::new(9, 5)).0);
    assert_ne!(with(Rng::new(9, 4)).0, loss_and_gradients(&model, options(0.0, false)).0);
}

/// Checkpoints drop the same sublayers again, and a rate of almost 1 leaves nothing of the last block.
#[test]
fn dropped_sublayers_depend_on_the_generator_alone() {
    let model = trainable(&tiny("rope"), 1);
    let with = |drop_path, checkpointing| {
        loss_and_gradients(&model, LossOptions { drop_path, ..options(0.1, checkpointing) })
    };
    assert_eq!(with(0.5, false), with(0.5, true));
    assert_ne!(with(0.5, false).0, with(0.0, false).0);
    let (_, without) = with(1.0 - 1e-12, false);
    assert!(
        without.iter().any(|gradient| gradient.iter().all(|&g| g == 0.0)),
        "the last block learns nothing"
    );
}

#[test]
fn noise_is_drawn_by_the_step_unless_it_is_frozen() {
    let spe = |noise| {
        let config = EncodingConfig::SineSpe(SineSpeConfig { noise, ..SineSpeConfig::default() });
        trainable(&ModelConfig { position: Position::Table(config), ..tiny("none") }, 1)
    };
    let at = |model: &CausalLm, step| loss_and_gradients(model, LossOptions { step, ..options(0.0, false) });
    let redrawn = spe(NoiseMode::Redrawn);
    assert_eq!(at(&redrawn, 3), at(&redrawn, 3));
    assert_ne!(at(&redrawn, 3).0, at(&redrawn, 4).0);
    let frozen = spe(NoiseMode::Frozen);
    assert_eq!(at(&frozen, 3), at(&frozen, 4));
    let every_other = RandomFeatures { redraw_every: 2, features: 8, ..RandomFeatures::default() };
    let favor = ModelConfig { feature_map: FeatureMap::Random(every_other), ..tiny("none") };
    let favor = trainable(&favor, 1);
    assert_eq!(at(&favor, 2), at(&favor, 3));
    assert_ne!(at(&favor, 3).0, at(&favor, 4).0);
}

#[test]
fn gradients_of_several_passes_are_summed() {
    let model = trainable(&tiny("lrpe-orthogonal"), 1);
    let (ids, targets) = ids_and_targets();
    let pass =
        |ids: &[u32]| model.loss(&batch(ids.to_vec(), targets.clone(), SHAPE), options(0.0, false)).gradients;
    let other = tokens(3, ids.len(), VOCAB);
    let single = |ids: &[u32]| gradients(&model, &mut pass(ids));
    let (first, second) = (single(&ids), single(&other));
    let mut both: Vec<_> = pass(&ids).into_iter().chain(pass(&other)).collect();
    for ((sum, a), b) in gradients(&model, &mut both).iter().zip(&first).zip(&second) {
        let expected: Vec<f32> = a.iter().zip(b).map(|(a, b)| a + b).collect();
        assert_eq!(bits(sum), bits(&expected));
    }
    assert!(gradients(&model, &mut []).iter().flatten().all(|&g| g == 0.0), "no pass, no gradient");
}

/// The slope of the loss along its own gradient g is ‖g‖².
///
/// The loss is known to some 3e-7. A step that changes it by about 0.01 makes that 3e-5 of the difference; the
/// four-point stencil's own error is of fourth order in the step.
#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for (name, config) in variety() {
        let model = trainable(&config, 1);
        let (_, gradient) = loss_and_gradients(&model, options(0.1, true));
        let square: f64 = gradient.iter().flatten().map(|&g| f64::from(g).powi(2)).sum();
        let at = |step: f64| {
            let mut gradient = gradient.iter();
            let moved = map_parameters(model.clone(), |_, values| {
                let gradient = gradient.next().unwrap();
                values
                    .iter()
                    .zip(gradient)
                    .map(|(&x, &g)| (f64::from(x) + step * f64::from(g)) as f32)
                    .collect()
            });
            loss_and_gradients(&moved, options(0.1, false)).0
        };
        let h = 0.01 / square;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!((slope / square - 1.0).abs() < 1e-3, "{name}: {slope} against {square}");
    }
}

#[test]
fn a_later_token_never_changes_an_earlier_logit() {
    const CHANGED: usize = 21;
    let softmax = ("softmax alone", tiny_softmax("none"));
    for (name, config) in variety().into_iter().chain([softmax]) {
        let model = frozen(&config, 1);
        let ids = tokens(1, SHAPE[1], VOCAB);
        let mut other = ids.clone();
        other[CHANGED] = (other[CHANGED] + 1) % VOCAB as u32;
        let logits = |ids: Vec<u32>| to_vec(model.logits(ids, [1, SHAPE[1]], 0));
        let (before, after) = (logits(ids), logits(other));
        assert_eq!(bits(&before[..CHANGED * VOCAB]), bits(&after[..CHANGED * VOCAB]), "{name}");
        let moved = |row: usize| before[row * VOCAB..][..VOCAB] != after[row * VOCAB..][..VOCAB];
        assert!((CHANGED..SHAPE[1]).all(moved), "{name}: the change reaches every later token");
    }
}

/// Sequences of a batch do not see each other.
#[test]
fn a_batch_is_its_sequences() {
    for (name, config) in variety() {
        let model = frozen(&config, 1);
        let (ids, _) = ids_and_targets();
        let whole = to_vec(model.logits(ids.clone(), SHAPE, 0));
        let parts = ids.chunks(SHAPE[1]).flat_map(|ids| to_vec(model.logits(ids.to_vec(), [1, SHAPE[1]], 0)));
        let parts: Vec<f32> = parts.collect();
        let difference = whole.iter().zip(&parts).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

/// Three sequences in two rows, the second of which begins within the first row, with a gap after each row's last.
fn packed(filler: u32) -> (Batch, Vec<Segment>) {
    let segments = vec![
        Segment { start: 0, len: 20, offset: 0 },
        Segment { start: 20, len: 13, offset: 0 },
        Segment { start: 40, len: 31, offset: 0 },
    ];
    let (mut inputs, mut targets) = (vec![filler; 80], vec![IGNORE; 80]);
    for segment in &segments {
        inputs[segment.tokens()].copy_from_slice(&tokens(segment.start as u64, segment.len, VOCAB));
        targets[segment.tokens()].copy_from_slice(&tokens(7 + segment.start as u64, segment.len, VOCAB));
    }
    (Batch { inputs, targets, rows: 2, length: 40, segments: Some(segments.clone()) }, segments)
}

#[test]
fn packed_sequences_see_nothing_of_each_other() {
    for (name, config) in variety() {
        let model = frozen(&config, 1);
        let (batch, segments) = packed(3);
        let together = to_vec(model.scores(&batch));
        for segment in segments {
            let alone = to_vec(model.logits(batch.inputs[segment.tokens()].to_vec(), [1, segment.len], 0));
            let packed = &together[segment.start * VOCAB..][..alone.len()];
            let largest = alone.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (a, b) in alone.iter().zip(packed) {
                // Sums in f32 in another order, through two layers and a denominator.
                assert!((a - b).abs() < 2e-4 * largest.max(1.0), "{name}, {segment:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn what_lies_between_packed_sequences_changes_neither_loss_nor_gradients() {
    for (name, config) in variety() {
        let model = trainable(&config, 1);
        let of = |filler| {
            let mut loss = model.loss(&packed(filler).0, options(0.0, false));
            (loss.value.to_bits(), gradients(&model, &mut loss.gradients))
        };
        let (one, other) = (of(0), of(5));
        assert_eq!(one.0, other.0, "{name}");
        for (a, b) in one.1.iter().zip(&other.1) {
            assert_eq!(bits(a), bits(b), "{name}");
        }
    }
}
