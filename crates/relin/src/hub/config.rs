//! `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::HubError;
use crate::recipe::ModelConfig;
use crate::runlog::write_atomic;

/// Name of the configuration in a run's folder.
pub const CONFIG_FILE: &str = "config.json";

const MODEL_TYPE: &str = "relin-causal-lm";
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
pub fn write_config(path: &Path, config: &ModelConfig) -> Result<(), HubError> {
    let unwritable = |e: serde_json::Error| HubError::Config { path: path.into(), reason: e.to_string() };
    let mut document = serde_json::to_value(config).map_err(unwritable)?;
    document["model_type"] = json!(MODEL_TYPE);
    document["architectures"] = json!(["CausalLm"]);
    document["torch_dtype"] = json!("float32");
    document["relin_layout"] = json!(VERSION);
    Ok(write_atomic(path, format!("{document:#}\n").as_bytes())?)
}

/// Reads the configuration.
///
/// # Errors
/// If it cannot be read, is another kind of model's, of another version, or has a wrong key or value.
pub fn read_config(path: &Path) -> Result<ModelConfig, HubError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| HubError::Read { path: path.into(), source })?;
    let wrong = |reason: String| HubError::Config { path: path.into(), reason };
    let mut document: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let header: Header =
        serde_json::from_value(document.clone()).map_err(|e| wrong(format!("no relin model: {e}")))?;
    if header.model_type != MODEL_TYPE {
        return Err(wrong(format!("model_type: expected `{MODEL_TYPE}`, found `{}`", header.model_type)));
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
