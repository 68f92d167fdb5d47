//! What makes two recipes the same run.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{Recipe, former};
use crate::hexadecimal::hexadecimal;

/// Keys that watch or store a run without deciding its result, and those that follow from the data.
const IGNORED: [&str; 12] = [
    "train.log_every",
    "train.save_every",
    "train.keep_checkpoints",
    "train.gradient_checkpointing",
    "model.vocab_size",
    "model.labels",
    "model.target.mean",
    "model.target.deviation",
    "model.num_channels",
    "model.image_mean",
    "model.image_std",
    "data.skip_bad_rows",
];

/// Of the values that are not the usual ones, so that a key that is added later leaves former runs what they are.
pub(super) fn fingerprint(recipe: &Recipe) -> String {
    let (mut values, mut usual) = (essence(recipe), essence(&Recipe::default()));
    usual.extend(former::values());
    values.retain(|key, value| usual.get(key) != Some(value));
    let canonical = serde_json::to_vec(&values).unwrap_or_default();
    hexadecimal(&Sha256::digest(canonical))
}

pub(super) fn differences(one: &Recipe, other: &Recipe) -> Vec<String> {
    let (one, other) = (essence(one), essence(other));
    let absent = Json::Null;
    let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter()
        .map(|key| (key, one.get(key).unwrap_or(&absent), other.get(key).unwrap_or(&absent)))
        .filter(|(_, a, b)| a != b)
        .map(|(key, a, b)| format!("{key}: {a}, {b}"))
        .collect()
}

/// Every key that counts, by its full path, in order; derived values filled and presets written out, so that two
/// spellings of one recipe are equal.
fn essence(recipe: &Recipe) -> BTreeMap<String, Json> {
    let mut recipe = recipe.clone();
    recipe.model.resolve(recipe.data.context);
    recipe.model.absolute = recipe.model.absolute();
    recipe.model.position_stage = Some(recipe.model.position_stage());
    recipe.model.position = recipe.model.position.in_full();
    let mut leaves = BTreeMap::new();
    flatten("", &serde_json::to_value(&recipe).unwrap_or_default(), &mut leaves);
    leaves.retain(|key, _| !IGNORED.contains(&key.as_str()));
    leaves
}

fn flatten(path: &str, value: &Json, leaves: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(inner) => {
            for (key, value) in inner {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, leaves);
            }
        }
        leaf => {
            leaves.insert(path.into(), leaf.clone());
        }
    }
}
