//! Beginning with the weights of another run: a classifier with those of a masked language model, say.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::{CONFIG_FILE, HubError, WEIGHTS_FILE, read_config, read_weights};
use crate::model::{NamedTensor, Network, TensorError, load_tensors, named_tensors};
use crate::recipe::ModelConfig;

/// Keys of a network that belong to its data or its head, in which two runs may differ.
const OWN: [&str; 8] = [
    "initializer_range",
    "vocab_size",
    "labels",
    "target",
    "pooling",
    "pair",
    "tie_word_embeddings",
    "max_position_embeddings",
];
/// What stands beside or on top of a trunk, and may be another one.
const HEADS: [&str; 4] = ["cls.", "pair.", "score.", "lm_head."];
/// Tables with a row for each token, of which a model may have more or fewer at the end.
const TOKENS: [&str; 3] = ["model.embed_tokens.weight", "shared.weight", "lm_head.weight"];

/// The model with every weight that the run in `folder` has as well. All but heads must be there; a head that is not, or is for
/// other classes, and tokens that the run does not know, keep their initial weights.
///
/// # Errors
/// If the folder cannot be read, its network is another one, or its tensors do not fit.
pub fn adopt<M: Network>(model: M, network: &ModelConfig, folder: &Path) -> Result<M, HubError> {
    let path = folder.join(CONFIG_FILE);
    let differences = differences(network, &read_config(&path)?);
    if !differences.is_empty() {
        let reason = format!("train.init_from needs the same network, but {}", differences.join("; "));
        return Err(HubError::Config { path, reason });
    }
    let path = folder.join(WEIGHTS_FILE);
    let mut given: HashMap<String, NamedTensor> =
        read_weights(&path)?.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let misfit = |source| HubError::Tensors { path: path.clone(), source };
    let choose = |own: NamedTensor| match given.remove(&own.name) {
        Some(other) if TOKENS.contains(&other.name.as_str()) => tokens(own, &other),
        Some(other) if other.shape == own.shape => Ok(other),
        _ if HEADS.iter().any(|head| own.name.starts_with(head)) => Ok(own),
        Some(other) => Err(TensorError::Shape { name: own.name, expected: own.shape, found: other.shape }),
        None => Err(TensorError::Missing { name: own.name }),
    };
    let tensors: Vec<NamedTensor> =
        named_tensors(&model).into_iter().map(choose).collect::<Result<_, _>>().map_err(misfit)?;
    load_tensors(model, tensors).map_err(misfit)
}

/// The rows that both have.
fn tokens(mut own: NamedTensor, other: &NamedTensor) -> Result<NamedTensor, TensorError> {
    if own.shape[1..] != other.shape[1..] {
        return Err(TensorError::Shape { name: own.name, expected: own.shape, found: other.shape.clone() });
    }
    let shared = own.data.len().min(other.data.len());
    own.data[..shared].copy_from_slice(&other.data[..shared]);
    Ok(own)
}

/// `key = this one's value, not the other's`.
fn differences(network: &ModelConfig, other: &ModelConfig) -> Vec<String> {
    let keys = |config: &ModelConfig| match serde_json::to_value(config) {
        Ok(Json::Object(keys)) => keys,
        _ => serde_json::Map::new(),
    };
    let (own, other) = (keys(network), keys(other));
    let differs =
        |(key, value): &(&String, &Json)| !OWN.contains(&key.as_str()) && other.get(*key) != Some(*value);
    let words = |(key, value): (&String, &Json)| {
        format!("model.{key} is {value}, there {}", other.get(key).unwrap_or(&Json::Null))
    };
    own.iter().filter(differs).map(words).collect()
}
