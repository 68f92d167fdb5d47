//! `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::HubError;
use crate::model::{CausalLm, Classifier, MaskedLm, Network, Seq2Seq};
use crate::recipe::ModelConfig;
use crate::runlog::write_atomic;

/// Name of the configuration in a run's folder.
pub const CONFIG_FILE: &str = "config.json";

const VERSION: u64 = 1;

/// What stands beside the network's own keys.
#[derive(Serialize, Deserialize)]
struct Header {
    model_type: String,
    relin_layout: u64,
}

/// Writes the configuration.
///
/// # Errors
/// If the file cannot be written.
pub fn write_config<M: Network>(path: &Path, config: &ModelConfig) -> Result<(), HubError> {
    let unwritable = |e: serde_json::Error| HubError::Config { path: path.into(), reason: e.to_string() };
    let mut document = serde_json::to_value(config).map_err(unwritable)?;
    let (model_type, architecture) = M::KIND;
    document["model_type"] = json!(model_type);
    document["architectures"] = json!([architecture]);
    document["torch_dtype"] = json!("float32");
    document["relin_layout"] = json!(VERSION);
    Ok(write_atomic(path, format!("{document:#}\n").as_bytes())?)
}

/// Reads the configuration.
///
/// # Errors
/// If it cannot be read, is another kind of model's, of another version, or has a wrong key or value.
pub fn read_config(path: &Path) -> Result<ModelConfig, HubError> {
    read(path, &[CausalLm::KIND.0, MaskedLm::KIND.0, Classifier::KIND.0, Seq2Seq::KIND.0])
}

/// Reads the configuration of a model of one kind.
pub(super) fn read_config_of<M: Network>(path: &Path) -> Result<ModelConfig, HubError> {
    read(path, &[M::KIND.0])
}

fn read(path: &Path, kinds: &[&str]) -> Result<ModelConfig, HubError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| HubError::Read { path: path.into(), source })?;
    let wrong = |reason: String| HubError::Config { path: path.into(), reason };
    let mut document: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let header: Header =
        serde_json::from_value(document.clone()).map_err(|e| wrong(format!("no relin model: {e}")))?;
    if !kinds.contains(&header.model_type.as_str()) {
        let expected = kinds.join("` or `");
        return Err(wrong(format!("model_type: expected `{expected}`, found `{}`", header.model_type)));
    }
    if header.relin_layout != VERSION {
        return Err(HubError::Version { path: path.into(), found: header.relin_layout, known: VERSION });
    }
    if let Value::Object(keys) = &mut document {
        for key in ["model_type", "architectures", "torch_dtype", "relin_layout"] {
            keys.remove(key);
        }
    }
    serde_json::from_value(document).map_err(|e| wrong(e.to_string()))
}
