//! Encoder-decoders: the loss and its checkpoints, padding, what sees what, and targets written token by token.

use burn::tensor::Device;
use relin::data::{Marks, Padded, ParallelBatch, ParallelTokens};
use relin::model::{
    LossOptions, Network, Seq2Seq, Seq2SeqSession, for_each_parameter, gradients, load_tensors,
    map_parameters, named_tensors,
};
use relin::ops::to_vec;
use relin::recipe::{Absolute, CrossPosition, FeatureMap, ModelConfig, Normalizer, Position};
use relin_kernels::encoding::{Decay, PRESETS};
use relin_kernels::feature_map::RandomFeatures;
use relin_kernels::rng::Rng;

use crate::support::{
    ROUNDING, VOCAB, assert_close, bits, shared_codes, tiny, tiny_normalized, tiny_softmax, tokens, wide,
};

fn own(position: &str) -> CrossPosition {
    CrossPosition::Own(Position::Preset(position.into()))
}

/// One configuration for each thing that the loss passes through.
fn variety() -> Vec<(&'static str, ModelConfig)> {
    let learned = ModelConfig {
        absolute: Absolute::Learned,
        max_position_embeddings: Some(40),
        tie_word_embeddings: false,
        ..tiny("lrpe-orthogonal")
    };
    let features = RandomFeatures { features: 24, redraw_every: 1, stabilize: false, ..Default::default() };
    vec![
        ("three layers", ModelConfig { num_hidden_layers: 3, ..tiny("lrpe-orthogonal") }),
        ("learned positions, untied", learned),
        ("sinusoidal positions", tiny("sinusoidal")),
        ("another encoding across", ModelConfig { cross_position: own("lrpe-type3"), ..tiny("none") }),
        ("none across", ModelConfig { cross_position: own("none"), ..tiny("lrpe-unitary-learned") }),
        ("plain denominator", tiny_normalized("lrpe-permutation", Normalizer::Plain)),
        ("softmax", tiny_softmax("lrpe-orthogonal")),
        ("softmax, learned bias", tiny_softmax("t5")),
        ("filters", tiny("conv-spe")),
        ("codes that layers share, random features", shared_codes()),
        ("noise across alone", ModelConfig { cross_position: own("sine-spe"), ..tiny("rope") }),
        ("random features", ModelConfig { feature_map: FeatureMap::Random(features), ..tiny("none") }),
    ]
}

fn model(config: &ModelConfig, device: &Device) -> Seq2Seq {
    Seq2Seq::new(config, 1, device).unwrap()
}

fn trainable(config: &ModelConfig) -> Seq2Seq {
    model(config, &Device::flex().autodiff())
}

fn frozen(config: &ModelConfig) -> Seq2Seq {
    model(config, &Device::flex())
}

/// Pairs of different lengths, some longer than a chunk, of which neither side is always the longer one.
fn pairs() -> ParallelTokens {
    let known = VOCAB - Marks::COUNT;
    let pair = |(at, [source, target]): (u64, [usize; 2])| {
        [tokens(10 + at, source, known), tokens(50 + at, target, known)]
    };
    let lengths = [[7, 3], [1, 12], [37, 20], [2, 2], [5, 33]];
    ParallelTokens::new((0..).zip(lengths).map(pair).collect(), Marks::above(known))
}

fn batch() -> ParallelBatch {
    pairs().batch(&[0, 1, 2, 3, 4])
}

fn options(dropout: f64, checkpointing: bool) -> LossOptions {
    LossOptions { dropout, drop_path: 0.0, label_smoothing: 0.0, rng: Rng::new(9, 4), checkpointing, step: 1 }
}

fn loss_and_gradients(model: &Seq2Seq, options: LossOptions) -> (f64, Vec<Vec<f32>>) {
    let mut loss = model.loss(&batch(), options);
    (loss.value, gradients(model, &mut loss.gradients))
}

#[test]
fn checkpointing_changes_no_bit() {
    for (name, config) in variety() {
        let model = trainable(&config);
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

/// The slope of the loss along its own gradient g is ‖g‖²; the step is that of the language model's test.
#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for (name, config) in variety() {
        let model = trainable(&config);
        let (_, gradient) = loss_and_gradients(&model, options(0.1, true));
        let square: f64 = gradient.iter().flatten().map(|&g| f64::from(g).powi(2)).sum();
        let at = |step: f64| {
            let mut gradient = gradient.iter();
            let moved = map_parameters(model.clone(), |_, values| {
                let moves = values.iter().zip(gradient.next().unwrap());
                moves.map(|(&x, &g)| (f64::from(x) + step * f64::from(g)) as f32).collect()
            });
            loss_and_gradients(&moved, options(0.1, false)).0
        };
        let h = 0.01 / square;
        let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        assert!((slope / square - 1.0).abs() < 1e-3, "{name}: {slope} against {square}");
    }
}

/// The logits of one row of a batch, its own tokens alone.
fn row(logits: &[f32], inputs: &Padded, row: usize) -> Vec<f32> {
    logits[row * inputs.length * VOCAB..][..inputs.lengths[row] * VOCAB].to_vec()
}

/// What a pair is batched with, and what it is padded with, changes nothing, in any kind of attention.
#[test]
fn padding_does_not_leak() {
    for (name, config) in variety() {
        let model = frozen(&config);
        let ParallelBatch { sources, inputs, .. } = batch();
        let together = to_vec(model.logits(&sources, &inputs));
        let mut dirty = (sources.clone(), inputs.clone());
        for padded in [&mut dirty.0, &mut dirty.1] {
            for (at, id) in padded.ids.iter_mut().enumerate() {
                if at % padded.length >= padded.lengths[at / padded.length] {
                    *id = 5;
                }
            }
        }
        let dirty = to_vec(model.logits(&dirty.0, &dirty.1));
        for at in 0..pairs().len() {
            let alone = pairs().batch(&[at]);
            let alone = to_vec(model.logits(&alone.sources, &alone.inputs));
            let expected = wide(&row(&together, &inputs, at));
            assert_close(&format!("{name}, pair {at}"), &alone, &expected, ROUNDING);
            assert_eq!(bits(&row(&dirty, &inputs, at)), bits(&row(&together, &inputs, at)), "{name}: {at}");
        }
    }
}

#[test]
fn a_target_sees_its_past_and_all_of_its_source() {
    const CHANGED: usize = 9;
    for (name, config) in variety() {
        let model = frozen(&config);
        let ParallelBatch { sources, inputs, .. } = pairs().batch(&[2]);
        let logits = |sources: &Padded, inputs: &Padded| to_vec(model.logits(sources, inputs));
        let before = logits(&sources, &inputs);
        let changed = |tokens: &Padded, at: usize| {
            let mut tokens = tokens.clone();
            tokens.ids[at] = (tokens.ids[at] + 1) % 20;
            tokens
        };
        let moved = |after: &[f32], row: usize| {
            bits(&before[row * VOCAB..][..VOCAB]) != bits(&after[row * VOCAB..][..VOCAB])
        };
        let after = logits(&sources, &changed(&inputs, CHANGED));
        for row in 0..inputs.length {
            assert_eq!(moved(&after, row), row >= CHANGED, "{name}: token {row} of the target");
        }
        for at in [0, sources.length - 2] {
            let after = logits(&changed(&sources, at), &inputs);
            assert!((0..inputs.length).all(|row| moved(&after, row)), "{name}: token {at} of the source");
        }
    }
}

fn without_decay(name: &str) -> bool {
    let attention = frozen(&tiny_softmax(name)).attentions().next().unwrap();
    (0..2).all(|head| attention.position().encoding().decay(head) == Decay::None)
}

/// Every preset without decay, linear with and without a denominator, and softmax.
#[test]
fn steps_are_the_whole_target() {
    let presets = PRESETS.iter().filter(|preset| without_decay(preset.name));
    let presets = presets.flat_map(|preset| {
        let linear = [Normalizer::None, Normalizer::Plain].map(|n| tiny_normalized(preset.name, n));
        linear.into_iter().chain([tiny_softmax(preset.name)]).map(|config| (preset.name, config))
    });
    let batch = pairs().batch(&[4]);
    for (name, config) in presets.chain(variety()) {
        let model = frozen(&config);
        let whole = wide(&to_vec(model.logits(&batch.sources, &batch.inputs)));
        let mut session = Seq2SeqSession::new(&model, &batch.sources.ids);
        let mut found = Vec::new();
        for (at, &token) in batch.inputs.ids.iter().enumerate() {
            if at == 17 {
                // A fork goes on as its origin would have, which what the fork does then leaves alone.
                let mut fork = session.fork();
                std::mem::swap(&mut fork, &mut session);
                fork.step(3);
            }
            assert_eq!(session.position(), at);
            found.extend(session.step(token));
        }
        assert_close(&format!("{name}, {:?}", config.normalizer), &found, &whole, ROUNDING);
    }
}

#[test]
fn saved_tensors_give_the_same_model_and_each_has_a_name() {
    for (name, config) in variety() {
        let saved = named_tensors(&frozen(&config));
        let names: std::collections::BTreeSet<&str> = saved.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names.len(), saved.len(), "{name}");
        assert!(names.contains("decoder.layers.1.cross.attn.q_proj.weight"), "{names:?}");
        let other = Seq2Seq::new(&config, 2, &Device::flex()).unwrap();
        let loaded = load_tensors(other, saved.clone()).unwrap();
        assert_eq!(named_tensors(&loaded), saved, "{name}");
    }
}
