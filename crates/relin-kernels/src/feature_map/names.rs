//! Feature maps in recipes: a name, or a table `{ type = "favor", features = 256, … }` for those that have options.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FeatureMap, RandomFeatures};

const NAMES: &[&str] = &["elu1", "relu", "silu", "exp", "identity", "relu-epsilon", "favor"];

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Table {
    Favor(RandomFeatures),
}

impl FeatureMap {
    /// The map of that name, with its default options.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "elu1" => Self::Elu1,
            "relu" => Self::Relu,
            "silu" => Self::Silu,
            "exp" => Self::Exp,
            "identity" => Self::Identity,
            "relu-epsilon" => Self::ReluEpsilon,
            "favor" => Self::Random(RandomFeatures::default()),
            _ => return None,
        })
    }
}

impl Serialize for FeatureMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = match self {
            Self::Elu1 => "elu1",
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Exp => "exp",
            Self::Identity => "identity",
            Self::ReluEpsilon => "relu-epsilon",
            Self::Random(random) => return Table::Favor(*random).serialize(serializer),
        };
        serializer.serialize_str(name)
    }
}

impl<'de> Deserialize<'de> for FeatureMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = FeatureMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a feature map, or a table with its `type`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<FeatureMap, E> {
        FeatureMap::named(name).ok_or_else(|| E::unknown_variant(name, NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FeatureMap, A::Error> {
        let Table::Favor(random) = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(FeatureMap::Random(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tables_come_back() {
        for name in NAMES {
            let map: FeatureMap = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let written = serde_json::to_string(&map).unwrap();
            assert_eq!(serde_json::from_str::<FeatureMap>(&written).unwrap(), map, "{written}");
        }
        let table = r#"{"type":"favor","kernel":"relu","features":40}"#;
        let FeatureMap::Random(random) = serde_json::from_str(table).unwrap() else {
            panic!("no random map")
        };
        assert_eq!((random.features, random.kernel), (40, super::super::RandomKernel::Relu));
        for bad in ["\"elu\"", r#"{"type":"favor","size":3}"#, r#"{"type":"favor","features":0}"#] {
            assert!(serde_json::from_str::<FeatureMap>(bad).is_err(), "{bad}");
        }
    }
}
