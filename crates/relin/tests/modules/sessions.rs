//! Generation: whatever the order in which a session takes its tokens, its logits are those of the whole sequence.

use relin::model::{CausalLm, LayerMemory, Session};
use relin::nn::Attention;
use relin::ops::to_vec;
use relin::recipe::{Absolute, AttentionKind, BIAS_PRESETS, ModelConfig, Normalizer};
use relin_kernels::encoding::{Agreement, PRESETS, Stage};

use crate::support::{
    ROUNDING, VOCAB, assert_close, bits, frozen, shared_codes, tiny, tiny_normalized, tiny_softmax, tokens,
    wide,
};

const NORMALIZERS: [Normalizer; 3] = [Normalizer::None, Normalizer::Plain, Normalizer::Encoded];

/// Every preset under every normaliser and under softmax, and both kinds of absolute positions.
fn every_model(run: impl Fn(&str, CausalLm)) {
    for preset in PRESETS {
        for normalizer in NORMALIZERS {
            let config = tiny_normalized(preset.name, normalizer);
            run(&format!("{}, {normalizer:?}", preset.name), frozen(&config, 1));
        }
        run(&format!("{}, softmax", preset.name), frozen(&tiny_softmax(preset.name), 1));
    }
    for name in BIAS_PRESETS {
        run(name, frozen(&tiny_softmax(name), 1));
    }
    run("sinusoidal", frozen(&tiny("sinusoidal"), 1));
    run("codes that layers share, random features", frozen(&shared_codes(), 1));
    let learned =
        |config| ModelConfig { absolute: Absolute::Learned, max_position_embeddings: Some(300), ..config };
    run("learned", frozen(&learned(tiny("rope")), 1));
    run("learned, softmax", frozen(&learned(tiny_softmax("none")), 1));
}

fn step_by_step(model: &CausalLm, ids: &[u32]) -> Vec<f32> {
    let mut session = Session::new(model);
    ids.iter().flat_map(|&id| session.step(id)).collect()
}

#[test]
fn steps_are_the_whole_sequence() {
    const TIME: usize = 200;
    let ids = tokens(1, TIME, VOCAB);
    every_model(|name, model| {
        let whole = wide(&to_vec(model.logits(ids.clone(), [1, TIME], 0)));
        assert_close(name, &step_by_step(&model, &ids), &whole, ROUNDING);
    });
}

/// Errors do not grow with the number of tokens: the recurrent form sums in the order of the chunked form.
#[test]
fn four_thousand_steps_are_the_whole_sequence() {
    const TIME: usize = 4096;
    let ids = tokens(1, TIME, VOCAB);
    let check = |name: &str, config: &ModelConfig| {
        let model = frozen(config, 1);
        let whole = wide(&to_vec(model.logits(ids.clone(), [1, TIME], 0)));
        assert_close(name, &step_by_step(&model, &ids), &whole, 1e-5);
    };
    for preset in PRESETS {
        for normalizer in NORMALIZERS {
            let config = ModelConfig { num_hidden_layers: 1, ..tiny_normalized(preset.name, normalizer) };
            check(&format!("{}, {normalizer:?}", preset.name), &config);
        }
    }
    check("softmax", &tiny_softmax("rope"));
}

#[test]
fn a_prompt_at_once_is_a_prompt_in_steps() {
    // Not a multiple of the chunk length, so that the prompt leaves a part of a chunk behind.
    let (prompt, rest) = (tokens(1, 53, VOCAB), tokens(2, 40, VOCAB));
    let all = [&*prompt, &*rest].concat();
    every_model(|name, model| {
        let expected = step_by_step(&model, &all);
        let mut session = Session::new(&model);
        let mut found = session.prefill(&prompt).expect("the prompt is not empty");
        assert_eq!(session.position(), prompt.len());
        found.extend(rest.iter().flat_map(|&id| session.step(id)));
        assert_close(name, &found, &wide(&expected[(prompt.len() - 1) * VOCAB..]), ROUNDING);

        // A second prompt after steps, which have left tokens waiting.
        let mut session = Session::new(&model);
        prompt.iter().for_each(|&id| drop(session.step(id)));
        let found = session.prefill(&rest).expect("the prompt is not empty");
        assert_close(name, &found, &wide(&expected[(all.len() - 1) * VOCAB..]), ROUNDING);
    });
}

#[test]
fn an_empty_prompt_says_nothing() {
    let model = frozen(&tiny("rope"), 1);
    let mut session = Session::new(&model);
    assert_eq!(session.prefill(&[]), None);
    assert_eq!(session.position(), 0);
}

#[test]
fn a_restored_session_continues_to_the_bit() {
    let (before, after) = (tokens(1, 45, VOCAB), tokens(2, 30, VOCAB));
    every_model(|name, model| {
        let mut session = Session::new(&model);
        session.prefill(&before[..20]);
        before[20..].iter().for_each(|&id| drop(session.step(id)));
        let mut restored = Session::restore(&model, session.position(), session.memories());
        assert_eq!(restored.position(), before.len(), "{name}");
        for &id in &after {
            assert_eq!(bits(&session.step(id)), bits(&restored.step(id)), "{name}");
        }
        assert_eq!(session.memories(), restored.memories(), "{name}");
    });
}

/// Linear attention remembers the same amount after any number of tokens, up to one chunk of waiting tokens.
#[test]
fn the_memory_of_linear_attention_does_not_grow() {
    let config = tiny("lrpe-unitary");
    let model = frozen(&config, 1);
    let mut session = Session::new(&model);
    let size = |session: &Session| -> usize {
        let of = |memory: &LayerMemory| match memory {
            LayerMemory::Linear(m) => {
                m.state.s.len() + m.state.z.len() + m.waiting_k.len() + m.waiting_v.len()
            }
            LayerMemory::Softmax { k, v } => k.len() + v.len(),
        };
        session.memories().iter().map(of).sum()
    };
    let empty = size(&session);
    let ids = tokens(1, 10 * config.attention_chunk, VOCAB);
    let sizes: Vec<usize> = ids
        .iter()
        .map(|&id| {
            session.step(id);
            size(&session)
        })
        .collect();
    assert_eq!(sizes.last(), Some(&empty), "a full chunk is folded into the state");
    let (first, last) = sizes.split_at(config.attention_chunk);
    assert_eq!(first.iter().max(), last.iter().max());
}

/// Only differences of positions matter to a model without absolute positions; of noise, this holds in the mean alone,
/// and not for the features of encoded rows.
#[test]
fn the_offset_of_a_relative_model_changes_nothing() {
    const TIME: usize = 60;
    let ids = tokens(1, TIME, VOCAB);
    let encodings = PRESETS.iter().flat_map(|preset| {
        [tiny(preset.name), tiny_softmax(preset.name)].map(|config| (preset.name, config))
    });
    let biases = BIAS_PRESETS.iter().map(|name| (*name, tiny_softmax(name)));
    for (name, config) in encodings.chain(biases) {
        let model = frozen(&config, 1);
        let noisy = |attention: Attention| attention.position().encoding().agreement() != Agreement::Exact;
        let of_features =
            config.attention == AttentionKind::Linear && config.position_stage() == Stage::BeforeFeatureMap;
        if of_features || model.attentions().any(noisy) {
            continue;
        }
        let at = |offset| to_vec(model.logits(ids.clone(), [1, TIME], offset));
        assert_close(name, &at(1_000_000), &wide(&at(0)), 1e-5);
    }
}
