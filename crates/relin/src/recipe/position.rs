//! `model.position`: the name of a preset, or the table of an encoding or of a bias.

use std::fmt;

use relin_kernels::encoding::bias::BiasConfig;
use relin_kernels::encoding::{EncodingConfig, PRESETS, preset};
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Absolute;
use crate::nearest::nearest;

/// Presets that stand for no relative encoding and an absolute one.
pub const ABSOLUTE_PRESETS: &[(&str, Absolute)] =
    &[("sinusoidal", Absolute::Sinusoidal), ("learned", Absolute::Learned)];

/// Presets, and types of tables, that are biases on the logits of softmax attention.
pub const BIAS_PRESETS: &[&str] = &["t5", "alibi", "shaw"];

/// The relative positions of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Position {
    /// By name.
    Preset(String),
    /// An encoding in full.
    Table(EncodingConfig),
    /// A bias in full.
    Bias(BiasConfig),
}

impl Position {
    /// The encoding meant, none if it is a bias; names were checked when they were read.
    pub fn encoding(&self) -> EncodingConfig {
        match self {
            Self::Preset(name) => preset(name).map_or(EncodingConfig::None, |preset| preset.config()),
            Self::Table(config) => config.clone(),
            Self::Bias(_) => EncodingConfig::None,
        }
    }

    /// The bias meant, if it is one.
    pub fn bias(&self) -> Option<BiasConfig> {
        match self {
            Self::Preset(name) => BiasConfig::named(name),
            Self::Table(_) => None,
            Self::Bias(config) => Some(config.clone()),
        }
    }

    /// The same as a table.
    pub fn in_full(&self) -> Self {
        self.bias().map_or_else(|| Self::Table(self.encoding()), Self::Bias)
    }

    /// The absolute positions that the name stands for, if it stands for any.
    pub fn absolute(&self) -> Option<Absolute> {
        let Self::Preset(name) = self else { return None };
        ABSOLUTE_PRESETS.iter().find(|(known, _)| known == name).map(|(_, absolute)| *absolute)
    }

    /// Every name that `model.position` takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let encodings = PRESETS.iter().map(|preset| preset.name);
        encodings.chain(BIAS_PRESETS.iter().copied()).chain(ABSOLUTE_PRESETS.iter().map(|(name, _)| *name))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(name) => f.write_str(name),
            Self::Table(_) | Self::Bias(_) => f.write_str("a table"),
        }
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PositionVisitor)
    }
}

/// By hand, because an untagged enum would report neither the nearest name nor the wrong key of a table.
struct PositionVisitor;

impl<'de> Visitor<'de> for PositionVisitor {
    type Value = Position;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset or a table with a `type`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Position, E> {
        if Position::names().any(|known| known == name) {
            return Ok(Position::Preset(name.into()));
        }
        let near = nearest(name, Position::names()).unwrap_or_default();
        let known: Vec<_> = Position::names().collect();
        Err(E::custom(format!(
            "unknown preset `{name}`, did you mean `{near}`? (known: {})",
            known.join(", ")
        )))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Position, A::Error> {
        let table = Map::deserialize(MapAccessDeserializer::new(map))?;
        let kind = table.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if BIAS_PRESETS.contains(&kind.as_str()) {
            return BiasConfig::deserialize(Value::Object(table)).map(Position::Bias).map_err(Error::custom);
        }
        EncodingConfig::deserialize(Value::Object(table)).map(Position::Table).map_err(|error| {
            match error.to_string() {
                // The biases are types of tables too.
                message if message.starts_with(&format!("unknown variant `{kind}`")) => {
                    Error::custom(format!("{message}, `{}`", BIAS_PRESETS.join("`, `")))
                }
                message => Error::custom(message),
            }
        })
    }
}

/// The relative positions between a target and its source: `"same"`, or whatever [`Position`] takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CrossPosition {
    /// As within each of them.
    #[default]
    Same,
    /// Their own.
    Own(Position),
}

impl Serialize for CrossPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => serializer.serialize_str("same"),
            Self::Own(position) => position.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CrossPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CrossVisitor)
    }
}

struct CrossVisitor;

impl<'de> Visitor<'de> for CrossVisitor {
    type Value = CrossPosition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`same`, the name of a preset or a table with a `type`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<CrossPosition, E> {
        if name == "same" {
            return Ok(CrossPosition::Same);
        }
        PositionVisitor.visit_str(name).map(CrossPosition::Own)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CrossPosition, A::Error> {
        PositionVisitor.visit_map(map).map(CrossPosition::Own)
    }
}
