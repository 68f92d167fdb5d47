//! `--set path=value`.

use std::str::FromStr;

use toml::{Table, Value};

use super::{Position, RecipeError};

/// A value for one key, given from outside the recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Path of the key, for example `train.steps`.
    pub path: String,
    /// Its value.
    pub value: Value,
}

impl FromStr for Override {
    type Err = RecipeError;

    /// `path=value`; the value is read as TOML, and as a string where it is not TOML.
    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let malformed = || RecipeError::MalformedOverride { text: text.into() };
        let (path, value) = text.split_once('=').ok_or_else(malformed)?;
        let path = path.trim();
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return Err(malformed());
        }
        Ok(Self { path: path.into(), value: parse_value(value) })
    }
}

fn parse_value(text: &str) -> Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        // A date is no recipe's value, but a folder's name may look like one; a line break could add keys.
        Ok(mut table) if table.len() == 1 => match table.remove("value") {
            Some(Value::Datetime(_)) | None => Value::String(text.into()),
            Some(value) => value,
        },
        _ => Value::String(text.into()),
    }
}

/// Writes an override into the recipe's table.
pub(super) fn apply(table: &mut Table, set: &Override) -> Result<(), RecipeError> {
    let mut parts: Vec<&str> = set.path.split('.').collect();
    let Some(last) = parts.pop() else { return Ok(()) };
    let mut table = table;
    let mut walked = String::new();
    for part in parts {
        walked = if walked.is_empty() { part.into() } else { format!("{walked}.{part}") };
        let entry = table.entry(part).or_insert_with(|| absent(&walked));
        if walked == "model.position" {
            expand_preset(entry);
        }
        table = match entry {
            Value::Table(inner) => inner,
            _ => return Err(RecipeError::NotATable { path: set.path.clone(), parent: walked }),
        };
    }
    table.insert(last.into(), set.value.clone());
    Ok(())
}

/// What a key holds when neither file nor override gave it: the default position has keys of its own to set.
fn absent(path: &str) -> Value {
    match path {
        "model.position" => Value::try_from(super::ModelConfig::default().position).ok(),
        _ => None,
    }
    .unwrap_or_else(|| Value::Table(Table::new()))
}

/// A preset's name becomes its table, so that one of its keys can be set.
fn expand_preset(value: &mut Value) {
    let Value::String(name) = value else { return };
    let position = Position::Preset(name.clone());
    if position.absolute().is_none()
        && Position::names().any(|known| known == name)
        && let Ok(expanded) = Value::try_from(position.in_full())
    {
        *value = expanded;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        text.parse::<Override>().unwrap().value
    }

    #[test]
    fn a_value_is_toml_or_else_a_string() {
        assert_eq!(value("a=3"), Value::Integer(3));
        assert_eq!(value("a=1e-3"), Value::Float(1e-3));
        assert_eq!(value("a=true"), Value::Boolean(true));
        assert_eq!(value("a=\"x\""), Value::String("x".into()));
        assert_eq!(value("a=[\"x\", \"y\"]").as_array().unwrap().len(), 2);
        assert_eq!(value("a=lrpe-unitary"), Value::String("lrpe-unitary".into()));
        assert_eq!(value("a=/data/x=y.txt"), Value::String("/data/x=y.txt".into()));
        assert_eq!(value("a=2024-01-01"), Value::String("2024-01-01".into()));
        assert_eq!(value("a=1\nb = 2"), Value::String("1\nb = 2".into()));
        assert_eq!(value("a="), Value::String(String::new()));
    }

    #[test]
    fn malformed_overrides_are_refused() {
        for text in ["steps", "=3", "train..steps=3", ".=1"] {
            assert!(matches!(text.parse::<Override>(), Err(RecipeError::MalformedOverride { .. })), "{text}");
        }
    }
}
