//! The encoding of one layer of a run, with what it learned.

use std::path::Path;

use relin::hub::{CONFIG_FILE, WEIGHTS_FILE, read_config, read_weights};
use relin::model::NamedTensor;
use relin_kernels::encoding::{Parameter, Place};

use super::error::InspectError;
use super::subject::{AnyConfig, Subject};

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
    let place = Place { key_dim: config.position_dim(), heads: config.num_attention_heads, layer };
    let name = format!("{}, layer {layer}: {}", folder.display(), config.position);
    let bias = config.position.bias().map(AnyConfig::Bias);
    let meant = bias.unwrap_or_else(|| AnyConfig::Encoding(config.position.encoding()));
    let mut subject = Subject::new(&name, meant, place)?;
    let path = folder.join(WEIGHTS_FILE);
    subject.values = values(&subject.parameters, layer, &read_weights(&path)?.tensors, &path)?;
    subject.stage = subject.stage.map(|_| config.position_stage());
    subject.trained = true;
    Ok(subject)
}

/// The layer's parameters, end to end.
fn values(
    parameters: &[Parameter],
    layer: usize,
    tensors: &[NamedTensor],
    path: &Path,
) -> Result<Vec<f64>, InspectError> {
    let mut values = Vec::new();
    for Parameter { name, shape, .. } in parameters {
        let end = format!(".position.{name}");
        let find = |is_place: &dyn Fn(&str) -> bool| {
            tensors.iter().find(|tensor| tensor.name.strip_suffix(&end).is_some_and(is_place))
        };
        let of_layer = find(&|place| place.contains(&format!("layers.{layer}.")));
        // What all layers have in common stands once, apart from them.
        let shared = find(&|place| !place.contains("layers."));
        let wrong = |found: String| InspectError::Tensor {
            path: path.into(),
            name: format!("layers.{layer}.….position.{name}"),
            expected: shape.clone(),
            found,
        };
        let Some(tensor) = of_layer.or(shared) else { return Err(wrong("none found".into())) };
        if tensor.shape != *shape {
            return Err(wrong(format!("shape {:?} found", tensor.shape)));
        }
        values.extend(tensor.data.iter().map(|x| f64::from(*x)));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relin_kernels::encoding::spe::SineSpeConfig;
    use relin_kernels::encoding::{Encoding, EncodingConfig, SineSpe};

    fn tensors(encoding: &SineSpe, prefix: impl Fn(&str) -> String) -> Vec<NamedTensor> {
        let tensor = |parameter: Parameter| NamedTensor {
            name: format!("{}.position.{}", prefix(parameter.name), parameter.name),
            data: vec![parameter.name.len() as f32; parameter.len()],
            shape: parameter.shape,
        };
        Encoding::<f64>::parameters(encoding).into_iter().map(tensor).collect()
    }

    /// A shared code stands beside the layers, gates in them.
    #[test]
    fn parameters_are_found_in_the_layer_or_beside_the_layers() {
        let place = Place { key_dim: 2, heads: 1, layer: 1 };
        for shared in [true, false] {
            let config = SineSpeConfig { shared, sines: 1, ..SineSpeConfig::default() };
            let encoding = SineSpe::new(&config, place).unwrap();
            let beside = |name: &str| shared && name != "gates";
            let prefix =
                |name: &str| if beside(name) { "model" } else { "model.layers.1.self_attn" }.to_owned();
            let subject =
                Subject::new("sine", AnyConfig::Encoding(EncodingConfig::SineSpe(config)), place).unwrap();
            let all = tensors(&encoding, prefix);
            let read = |layer| values(&subject.parameters, layer, &all, Path::new("w"));
            assert_eq!(read(1).unwrap(), [5.0, 5.0, 7.0, 7.0, 5.0, 5.0, 5.0, 5.0]);
            let error = read(0).unwrap_err().to_string();
            assert!(error.contains("w: tensor `layers.0.") && error.contains("none found"), "{error}");
        }
    }
}
