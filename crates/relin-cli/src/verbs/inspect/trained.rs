//! The encoding of one layer of a run, with what it learned.

use std::path::Path;

use relin::hub::{CONFIG_FILE, WEIGHTS_FILE, read_config, read_weights};
use relin::model::NamedTensor;
use relin_kernels::encoding::{Encoding, Parameter, Place};

use super::error::InspectError;
use super::subject::{AnyConfig, Built, Subject};

/// Reads layer `layer` of the run in `folder`.
pub fn read(folder: &Path, layer: usize) -> Result<Subject, InspectError> {
    for missing in [CONFIG_FILE, WEIGHTS_FILE] {
        if !folder.join(missing).is_file() {
            return Err(InspectError::NotARun { path: folder.into(), missing });
        }
    }
    let config = read_config(&folder.join(CONFIG_FILE))?;
    let layers = config.num_hidden_layers;
    if layer >= layers {
        let last = layers.saturating_sub(1);
        let expected = format!("0 to {last}: {} has {layers} layers", folder.display());
        return Err(InspectError::NoLayer { expected, found: layer });
    }
    let place = Place { key_dim: config.head_dim(), heads: config.num_attention_heads, layer };
    let name = format!("{}, layer {layer}: {}", folder.display(), config.position);
    let mut subject = Subject::new(&name, AnyConfig::Encoding(config.position.encoding()), place)?;
    if let Built::Encoding(encoding) = &subject.built {
        let path = folder.join(WEIGHTS_FILE);
        let tensors = read_weights(&path)?.tensors;
        subject.values = values(&**encoding, &subject.parameters, layer, &tensors, &path)?;
    }
    subject.trained = true;
    Ok(subject)
}

/// The layer's parameters, end to end.
fn values(
    encoding: &dyn Encoding<f64>,
    parameters: &[Parameter],
    layer: usize,
    tensors: &[NamedTensor],
    path: &Path,
) -> Result<Vec<f64>, InspectError> {
    let mut values = Vec::new();
    for Parameter { name, shape, .. } in parameters {
        let of_layer = |layer: usize| {
            let (place, end) = (format!("layers.{layer}."), format!(".position.{name}"));
            let is_it = |tensor: &&NamedTensor| tensor.name.contains(&place) && tensor.name.ends_with(&end);
            tensors.iter().find(is_it)
        };
        // What all layers have in common may be written once.
        let shared = encoding.shared_parameters().contains(name).then(|| of_layer(0)).flatten();
        let wrong = |found: String| InspectError::Tensor {
            path: path.into(),
            name: format!("layers.{layer}.….position.{name}"),
            expected: shape.clone(),
            found,
        };
        let Some(tensor) = of_layer(layer).or(shared) else { return Err(wrong("none found".into())) };
        if tensor.shape != *shape {
            return Err(wrong(format!("shape {:?} found", tensor.shape)));
        }
        values.extend(tensor.data.iter().map(|x| f64::from(*x)));
    }
    Ok(values)
}
