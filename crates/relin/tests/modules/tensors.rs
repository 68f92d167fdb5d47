//! Parameters by name: saved, loaded, refused, and drawn from the seed.

use std::collections::HashMap;

use relin::model::{NamedTensor, Network, TensorError, count_parameters, load_tensors, named_tensors};
use relin::ops::to_vec;
use relin::recipe::{Absolute, Mlp, ModelConfig, Norm};

use crate::support::{VOCAB, batch, bits, frozen, shared_codes, tiny, tiny_softmax, tokens, trainable};

fn variety() -> Vec<ModelConfig> {
    let untied = ModelConfig { tie_word_embeddings: false, mlp: Mlp::Gated, ..tiny("lrpe-type3") };
    let learned = ModelConfig {
        absolute: Absolute::Learned,
        max_position_embeddings: Some(9),
        norm: Norm::Rms,
        bias: false,
        ..tiny("lrpe-unitary-learned")
    };
    vec![tiny("none"), untied, learned, tiny_softmax("lrpe-orthogonal"), tiny_softmax("t5"), shared_codes()]
}

fn same_bits(a: &[NamedTensor], b: &[NamedTensor]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.name == b.name && a.shape == b.shape && bits(&a.data) == bits(&b.data))
}

/// Values that tell every element from every other, so that a transposition would show.
fn distinct(tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    let mut next = 0.0f32;
    let mut count = |_: &f32| {
        next += 1.0;
        next / 4096.0
    };
    tensors.into_iter().map(|t| NamedTensor { data: t.data.iter().map(&mut count).collect(), ..t }).collect()
}

#[test]
fn saved_and_loaded_is_the_same_model() {
    for config in variety() {
        for (from, into) in
            [(frozen(&config, 1), frozen(&config, 2)), (trainable(&config, 1), trainable(&config, 2))]
        {
            let saved = named_tensors(&from);
            assert!(!same_bits(&saved, &named_tensors(&into)), "other seeds, other weights");
            let loaded = load_tensors(into, saved.clone()).unwrap();
            assert!(same_bits(&saved, &named_tensors(&loaded)));
            let logits = |model: &relin::model::CausalLm| {
                bits(&to_vec(model.logits(tokens(1, 9, VOCAB), [1, 9], 0).inner()))
            };
            assert_eq!(logits(&from), logits(&loaded));
            let numbered = distinct(saved);
            assert!(same_bits(&numbered, &named_tensors(&load_tensors(loaded, numbered.clone()).unwrap())));
        }
    }
}

/// A model that was loaded can still be trained.
#[test]
fn loading_keeps_the_gradients() {
    use relin::model::{LossOptions, gradients};
    use relin_kernels::rng::Rng;

    let config = tiny("lrpe-type3");
    let run = |model: relin::model::CausalLm| {
        let options = LossOptions {
            dropout: 0.0,
            drop_path: 0.0,
            label_smoothing: 0.0,
            rng: Rng::new(0, 0),
            checkpointing: false,
            step: 1,
        };
        let mut loss = model.loss(&batch(tokens(1, 12, VOCAB), tokens(2, 12, VOCAB), [1, 12]), options);
        (loss.value, gradients(&model, &mut loss.gradients))
    };
    let model = trainable(&config, 1);
    let loaded = load_tensors(trainable(&config, 2), named_tensors(&model)).unwrap();
    let (expected, found) = (run(model), run(loaded));
    assert!(expected.1.iter().all(|gradient| gradient.iter().any(|&g| g != 0.0)));
    assert_eq!(expected, found);
}

/// The order in which a file lists its tensors says nothing.
#[test]
fn the_order_of_tensors_does_not_matter() {
    let config = tiny("lrpe-type3");
    let saved = named_tensors(&frozen(&config, 1));
    let reversed = saved.iter().rev().cloned().collect();
    assert!(same_bits(&saved, &named_tensors(&load_tensors(frozen(&config, 2), reversed).unwrap())));
}

#[test]
fn names_and_shapes_are_those_of_hugging_face() {
    let config = ModelConfig { tie_word_embeddings: false, mlp: Mlp::Gated, ..tiny("lrpe-type3") };
    let model = frozen(&config, 1);
    let shapes: HashMap<String, Vec<usize>> =
        named_tensors(&model).into_iter().map(|t| (t.name, t.shape)).collect();
    let block = "model.layers.1";
    for (name, shape) in [
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, 16]),
        ("model.norm.weight".to_owned(), vec![16]),
        ("lm_head.weight".to_owned(), vec![VOCAB, 16]),
        (format!("{block}.self_attn.q_proj.weight"), vec![16, 16]),
        (format!("{block}.self_attn.position.theta"), vec![1, 4]),
        (format!("{block}.self_attn.position.reflections"), vec![1, 1, 8]),
        (format!("{block}.mlp.gate_proj.weight"), vec![24, 16]),
        (format!("{block}.mlp.down_proj.weight"), vec![16, 24]),
        (format!("{block}.mlp.down_proj.bias"), vec![16]),
        (format!("{block}.post_attention_layernorm.weight"), vec![16]),
    ] {
        assert_eq!(shapes.get(&name), Some(&shape), "{name} of {:?}", shapes.keys());
    }
    for (position, name, shape) in [("t5", "table", vec![2, 32]), ("shaw", "vectors", vec![1, 33, 8])] {
        let tensors = named_tensors(&frozen(&tiny_softmax(position), 1));
        let name = format!("{block}.self_attn.position.{name}");
        assert!(tensors.iter().any(|tensor| tensor.name == name && tensor.shape == shape), "{name}");
    }
    let scalars: usize = shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(count_parameters(&model), scalars);
}

#[test]
fn what_does_not_fit_is_named() {
    let config = tiny("lrpe-type3");
    let saved = named_tensors(&frozen(&config, 1));
    let load = |tensors| load_tensors(frozen(&config, 2), tensors).map(|_| ());
    for (index, tensor) in saved.iter().enumerate() {
        let name = tensor.name.clone();
        let mut missing = saved.clone();
        missing.remove(index);
        assert_eq!(load(missing), Err(TensorError::Missing { name: name.clone() }));

        let mut reshaped = saved.clone();
        reshaped[index].shape.push(1);
        let (expected, found) = (tensor.shape.clone(), reshaped[index].shape.clone());
        assert_eq!(load(reshaped), Err(TensorError::Shape { name: name.clone(), expected, found }));

        let mut short = saved.clone();
        short[index].data.pop();
        assert!(matches!(load(short), Err(TensorError::Shape { .. })), "{name} with too few elements");
    }
    let mut unexpected = saved.clone();
    unexpected.push(NamedTensor { name: "model.extra".into(), shape: vec![1], data: vec![0.0] });
    let refusal = load(unexpected).unwrap_err();
    assert_eq!(refusal, TensorError::Unexpected { name: "model.extra".into() });
    assert!(refusal.to_string().contains("`model.extra`"), "{refusal}");
    assert_eq!(load(saved), Ok(()));
}

#[test]
fn weights_are_a_function_of_the_seed() {
    for config in variety() {
        let (a, again, b) = (frozen(&config, 7), frozen(&config, 7), frozen(&config, 8));
        assert!(same_bits(&named_tensors(&a), &named_tensors(&again)));
        for (a, b) in named_tensors(&a).iter().zip(&named_tensors(&b)) {
            let drawn = a.shape.len() == 2 && a.name.ends_with(".weight");
            assert_eq!(drawn, a.data != b.data, "{}", a.name);
        }
    }
}

/// Studies compare encodings on the same initial weights.
#[test]
fn models_that_differ_in_position_alone_share_their_weights() {
    let saved = |name: &str| -> HashMap<String, NamedTensor> {
        named_tensors(&frozen(&tiny(name), 7)).into_iter().map(|t| (t.name.clone(), t)).collect()
    };
    let base = saved("none");
    for preset in relin_kernels::encoding::PRESETS {
        let other = saved(preset.name);
        for (name, tensor) in &base {
            assert_eq!(Some(tensor), other.get(name), "{name} of {}", preset.name);
        }
        let own: Vec<_> = other.keys().filter(|name| !base.contains_key(*name)).collect();
        assert!(own.iter().all(|name| name.contains(".position.")), "{}: {own:?}", preset.name);
    }
}
