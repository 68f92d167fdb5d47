//! What is looked at: an encoding by name or table, a bias, or a layer of a run.

use std::path::Path;
use std::sync::Arc;

use relin::nearest::nearest;
use relin::recipe::{ABSOLUTE_PRESETS, BIAS_PRESETS};
use relin_kernels::encoding::bias::{Bias, BiasConfig};
use relin_kernels::encoding::{
    Encoding, EncodingConfig, EncodingError, PRESETS, Parameter, Place, Stage, preset,
};
use relin_kernels::inspect::{BiasHead, Head};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::InspectError;

/// A position encoding with values for its parameters.
#[derive(Clone, Debug)]
pub struct Subject {
    /// As the user named it.
    pub name: String,
    pub place: Place,
    pub parameters: Vec<Parameter>,
    /// Values, flat.
    pub values: Vec<f64>,
    /// Whether the values come from training.
    pub trained: bool,
    /// Where it acts; `None` for biases, which act on the logits.
    pub stage: Option<Stage>,
    pub built: Built,
}

/// Which encoding, or which bias on the logits.
#[derive(Clone, Debug)]
pub enum AnyConfig {
    Encoding(EncodingConfig),
    Bias(BiasConfig),
}

/// The same, built.
#[derive(Clone, Debug)]
pub enum Built {
    Encoding { config: EncodingConfig, encoding: Arc<dyn Encoding<f64>> },
    Bias { config: BiasConfig, bias: Arc<dyn Bias<f64>> },
}

impl Subject {
    /// With the initial values.
    pub fn new(name: &str, config: AnyConfig, place: Place) -> Result<Self, InspectError> {
        let wrong = |source: EncodingError| InspectError::Encoding {
            position: name.into(),
            head_dim: place.key_dim,
            heads: place.heads,
            source,
        };
        let (built, parameters, stage) = match config {
            AnyConfig::Encoding(config) => {
                let encoding = config.build::<f64>(place).map_err(wrong)?;
                let (parameters, stage) = (encoding.parameters(), encoding.stage());
                (Built::Encoding { config, encoding }, parameters, Some(stage))
            }
            AnyConfig::Bias(config) => {
                let bias = config.build::<f64>(place).map_err(wrong)?;
                let parameters = bias.parameters();
                (Built::Bias { config, bias }, parameters, None)
            }
        };
        let values = initial(&parameters);
        Ok(Self { name: name.into(), place, parameters, values, trained: false, stage, built })
    }

    /// The initial values.
    pub fn initial(&self) -> Vec<f64> {
        initial(&self.parameters)
    }

    /// Each parameter with its values among `all`.
    pub fn rows<'a>(&'a self, mut all: &'a [f64]) -> impl Iterator<Item = (&'a Parameter, &'a [f64])> {
        self.parameters.iter().map(move |parameter| {
            let (own, rest) = all.split_at(parameter.len());
            all = rest;
            (parameter, own)
        })
    }

    /// Values and initial values of the parameter of that name, of one head.
    pub fn of_head(&self, name: &str, head: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let (parameter, values) = self.rows(&self.values).find(|(parameter, _)| parameter.name == name)?;
        let width = values.len() / parameter.shape[0].max(1);
        let row = if parameter.shape[0] == 1 { 0 } else { head };
        let of = |all: &[f64]| all[row * width..][..width].to_vec();
        Some((of(values), of(&parameter.init)))
    }
}

/// A head of an encoding with some values.
pub fn head<'a>(encoding: &'a Arc<dyn Encoding<f64>>, params: &'a [f64], head: usize) -> Head<'a> {
    Head { encoding: &**encoding, params, head }
}

/// A head of a bias.
pub fn bias_head<'a>(
    bias: &'a Arc<dyn Bias<f64>>,
    params: &'a [f64],
    head: usize,
    key_dim: usize,
) -> BiasHead<'a> {
    BiasHead { bias: &**bias, params, head, key_dim }
}

fn initial(parameters: &[Parameter]) -> Vec<f64> {
    parameters.iter().flat_map(|parameter| parameter.init.iter().copied()).collect()
}

/// What `text` names: a preset, a bias or a table; `None` if it must be a folder.
pub fn parse(text: &str, seed: Option<u64>) -> Result<Option<AnyConfig>, InspectError> {
    if let Some(preset) = preset(text) {
        return Ok(Some(AnyConfig::Encoding(reseeded(preset.config(), seed))));
    }
    if let Some(bias) = BiasConfig::named(text) {
        return Ok(Some(AnyConfig::Bias(reseeded(bias, seed))));
    }
    if text.contains('=') || text.trim_start().starts_with('{') {
        return table(text, seed).map(Some);
    }
    if Path::new(text).exists() {
        return Ok(None);
    }
    if ABSOLUTE_PRESETS.iter().any(|(name, _)| *name == text) {
        return Err(InspectError::Absolute { name: text.into() });
    }
    let names = || PRESETS.iter().map(|preset| preset.name).chain(BIAS_PRESETS.iter().copied());
    let near = nearest(text, names()).unwrap_or_default().into();
    Err(InspectError::Unknown { name: text.into(), near, known: names().collect::<Vec<_>>().join(", ") })
}

/// An inline table, as a recipe's `model.position`.
fn table(text: &str, seed: Option<u64>) -> Result<AnyConfig, InspectError> {
    let wrong = |problem: String| InspectError::Table { found: text.into(), problem };
    let trimmed = text.trim();
    let whole = if trimmed.starts_with('{') { trimmed.to_owned() } else { format!("{{ {trimmed} }}") };
    let document: toml::Table =
        toml::from_str(&format!("position = {whole}")).map_err(|e| wrong(e.message().into()))?;
    let Some(toml::Value::Table(table)) = document.get("position") else {
        return Err(wrong("it is no table".into()));
    };
    let is_bias =
        table.get("type").and_then(toml::Value::as_str).is_some_and(|kind| BIAS_PRESETS.contains(&kind));
    let value = toml::Value::Table(table.clone());
    let message = |e: toml::de::Error| wrong(e.message().into());
    Ok(match is_bias {
        true => AnyConfig::Bias(reseeded(value.try_into().map_err(message)?, seed)),
        false => AnyConfig::Encoding(reseeded(value.try_into().map_err(message)?, seed)),
    })
}

/// The same with every `seed` in it replaced.
fn reseeded<T: serde::Serialize + DeserializeOwned + Clone>(config: T, seed: Option<u64>) -> T {
    let Some(seed) = seed else { return config };
    let Ok(mut value) = serde_json::to_value(&config) else { return config };
    replace_seeds(&mut value, seed);
    serde_json::from_value(value).unwrap_or(config)
}

fn replace_seeds(value: &mut Value, seed: u64) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        if name == "seed" {
            *field = seed.into();
        }
        replace_seeds(field, seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tables_and_seeds() {
        let encoding = |text| match parse(text, Some(7)) {
            Ok(Some(AnyConfig::Encoding(config))) => serde_json::to_value(config).unwrap(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(encoding("lrpe-permutation")["seed"], 7);
        assert_eq!(encoding("lrpe-decay")["inner"]["seed"], 7);
        assert_eq!(encoding("{ type = \"lrpe\", family = \"orthogonal\" }")["family"], "orthogonal");
        assert_eq!(encoding("type = \"cosformer\", length = 100")["length"], 100);
        assert!(matches!(parse("alibi", None), Ok(Some(AnyConfig::Bias(BiasConfig::Alibi)))));
        assert!(matches!(parse("{ type = \"t5\", buckets = 16 }", None), Ok(Some(AnyConfig::Bias(_)))));
        assert!(matches!(parse(".", None), Ok(None)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text| parse(text, None).unwrap_err().to_string();
        assert!(error("rpoe").contains("did you mean `rope`") && error("rpoe").contains("conv-spe"));
        assert!(error("sinusoidal").contains("absolute"));
        assert!(error("{ type = \"lrpe\", famly = \"unitary\" }").contains("famly"));
        assert!(error("{ type = \"lrp\" }").contains("lrp"));
        assert!(error("{ type = ").contains("POSITION"));
    }
}
