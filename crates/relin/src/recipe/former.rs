//! What recipes meant that were recorded before a key existed, where its default says something else.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::{Override, Recipe, RecipeError, SourceText};

/// Section, key and what held in effect.
const FORMER: [[&str; 3]; 1] = [["train", "angle_optimizer", "adamw"]];

/// The values by the full paths of their keys.
pub(super) fn values() -> impl Iterator<Item = (String, Json)> {
    FORMER.into_iter().map(|[section, key, value]| (format!("{section}.{key}"), value.into()))
}

impl Recipe {
    /// The complete recipe of a run, as this or an earlier build recorded it in a folder.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn read_recorded(path: &Path) -> Result<Self, RecipeError> {
        let text = SourceText::read(path)?;
        let table: Table = toml::from_str(&text.text).unwrap_or_default();
        let is_absent =
            |[section, key, _]: &[&str; 3]| table.get(*section).is_none_or(|of| of.get(*key).is_none());
        let fill = |[section, key, value]: [&str; 3]| Override {
            path: format!("{section}.{key}"),
            value: Value::String(value.into()),
        };
        let absent: Vec<Override> = FORMER.into_iter().filter(is_absent).map(fill).collect();
        Self::parse(&text, &absent)
    }

    /// The complete recipe of a run, as this or an earlier build recorded it in JSON.
    ///
    /// # Errors
    /// If this build cannot read it.
    pub fn from_recorded_json(recorded: &Json) -> Result<Self, serde_json::Error> {
        let mut recorded = recorded.clone();
        for [section, key, value] in FORMER {
            if let Some(Json::Object(section)) = recorded.get_mut(section) {
                section.entry(key).or_insert_with(|| value.into());
            }
        }
        Self::deserialize(recorded)
    }
}
