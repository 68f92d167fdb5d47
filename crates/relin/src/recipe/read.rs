//! From TOML to a [`Recipe`], with errors that name the key and where it stands.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::{Override, Recipe, RecipeError, SourceText, overrides};
use crate::nearest::nearest;

pub(super) fn parse(text: &SourceText, sets: &[Override]) -> Result<Recipe, RecipeError> {
    let mut table: Table = toml::from_str(&text.text).map_err(|e| syntax(text, &e))?;
    sets.iter().try_for_each(|set| overrides::apply(&mut table, set))?;
    let reader = Reader { text, sets };
    reader.check_keys(&table)?;
    Value::Table(table.clone())
        .try_into()
        .map_err(|e: toml::de::Error| reader.wrong_value(&table).unwrap_or_else(|| reader.wrong_whole(&e)))
}

fn syntax(text: &SourceText, error: &toml::de::Error) -> RecipeError {
    let line = text.line_at(error.span().map_or(0, |span| span.start));
    RecipeError::Syntax { name: text.name.clone(), line, message: error.message().into() }
}

struct Reader<'a> {
    text: &'a SourceText,
    sets: &'a [Override],
}

impl Reader<'_> {
    fn place(&self, path: &str) -> String {
        let below = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(set) = self.sets.iter().rev().find(|set| below(&set.path, path) || below(path, &set.path))
        {
            return format!("--set {}", set.path);
        }
        match self.text.line_of(path) {
            Some(line) => format!("{}, line {line}", self.text.name),
            None => self.text.name.clone(),
        }
    }

    /// Refuses the first key that no recipe has. The known ones are those of the default recipe, as JSON, which
    /// keeps those without a value.
    fn check_keys(&self, table: &Table) -> Result<(), RecipeError> {
        let known = serde_json::to_value(Recipe::default()).unwrap_or_default();
        let sections = |known: &Json| known.as_object().cloned().unwrap_or_default();
        for (key, value) in table {
            let Some(section) = known.get(key) else { return Err(self.unknown_key("", key, &known)) };
            let (Value::Table(inner), true) = (value, section.is_object()) else { continue };
            let keys = sections(section);
            if let Some(unknown) = inner.keys().find(|inner| !keys.contains_key(*inner)) {
                return Err(self.unknown_key(key, unknown, &known));
            }
        }
        self.check_type_alone(table)
    }

    /// `type = "none"` and `type = "alibi"` have no other key; serde would ignore one.
    fn check_type_alone(&self, table: &Table) -> Result<(), RecipeError> {
        let position = table.get("model").and_then(|model| model.get("position"));
        let Some(Value::Table(position)) = position else { return Ok(()) };
        let kind = position.get("type").and_then(Value::as_str);
        let alone = matches!(kind, Some("none" | "alibi"));
        match position.keys().find(|key| alone && *key != "type") {
            Some(key) => {
                let key = format!("model.position.{key}");
                Err(RecipeError::UnknownKey {
                    place: self.place(&key),
                    key,
                    near: "model.position.type".into(),
                })
            }
            None => Ok(()),
        }
    }

    fn unknown_key(&self, section: &str, key: &str, known: &Json) -> RecipeError {
        let path = join(section, key);
        let all = paths(known);
        let siblings =
            all.iter().filter(|path| path.rsplit_once('.').map_or("", |(head, _)| head) == section);
        // `model.steps` means `train.steps`, whatever else is spelled like it in `[model]`.
        let elsewhere = all.iter().find(|path| path.rsplit('.').next() == Some(key));
        let near = elsewhere
            .map(String::as_str)
            .or_else(|| nearest(&path, siblings.map(String::as_str)))
            .unwrap_or_default()
            .to_string();
        RecipeError::UnknownKey { place: self.place(&path), key: path, near }
    }

    /// The key whose value is at fault: every key has a default, so each one must be readable on its own.
    fn wrong_value(&self, table: &Table) -> Option<RecipeError> {
        for (key, value) in table {
            if let (Value::Table(section), "model" | "data" | "train") = (value, key.as_str()) {
                for (inner, value) in section {
                    let alone = Table::from_iter([(inner.clone(), value.clone())]);
                    let alone = Table::from_iter([(key.clone(), Value::Table(alone))]);
                    if let Some(error) = failure(alone) {
                        return Some(self.wrong_at(&join(key, inner), value, &error));
                    }
                }
            } else if let Some(error) = failure(Table::from_iter([(key.clone(), value.clone())])) {
                return Some(self.wrong_at(key, value, &error));
            }
        }
        None
    }

    fn wrong_at(&self, path: &str, value: &Value, error: &toml::de::Error) -> RecipeError {
        if let ("model.position", Value::Table(table)) = (path, value)
            && let Some(error) = self.wrong_in_position(table)
        {
            return error;
        }
        RecipeError::WrongValue {
            field: path.into(),
            place: self.place(path),
            problem: explain(error.message(), value),
        }
    }

    /// The same search inside the table of an encoding, beside its `type`.
    fn wrong_in_position(&self, table: &Table) -> Option<RecipeError> {
        let kind = table.get("type")?;
        for (key, value) in table {
            let pair = Table::from_iter([("type".into(), kind.clone()), (key.clone(), value.clone())]);
            let model = Table::from_iter([("position".into(), Value::Table(pair))]);
            if let Some(error) = failure(Table::from_iter([("model".into(), Value::Table(model))])) {
                let path = format!("model.position.{key}");
                let problem = explain(error.message(), value);
                return Some(RecipeError::WrongValue { place: self.place(&path), field: path, problem });
            }
        }
        None
    }

    fn wrong_whole(&self, error: &toml::de::Error) -> RecipeError {
        let problem = error.message().to_string();
        RecipeError::WrongValue { field: "recipe".into(), place: self.text.name.clone(), problem }
    }
}

fn failure(table: Table) -> Option<toml::de::Error> {
    Value::Table(table).try_into::<Recipe>().err()
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.into() } else { format!("{section}.{key}") }
}

/// Paths of all known keys, sections included.
fn paths(known: &Json) -> Vec<String> {
    let mut all = Vec::new();
    for (section, inner) in known.as_object().into_iter().flatten() {
        all.push(section.clone());
        all.extend(inner.as_object().into_iter().flatten().map(|(key, _)| join(section, key)));
    }
    all
}

/// serde's message about a value, in words for someone who writes recipes.
fn explain(message: &str, value: &Value) -> String {
    let message = message.trim();
    if let Some((start, expected)) = message.split_once(", expected ") {
        if start.starts_with("invalid type") || start.starts_with("invalid value") {
            return format!("expected {}, found {}", kind_in_words(expected), value_in_words(value));
        }
        let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
        if let [word, ..] = quoted(start).as_slice()
            && let known = quoted(expected)
            && let Some(near) = nearest(word, known.iter().map(String::as_str))
        {
            return format!("unknown word `{word}`, did you mean `{near}`? (known: {})", known.join(", "));
        }
    }
    message.into()
}

fn kind_in_words(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" => "a whole number of at least 0",
        "i64" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "string or map" | "string only" => "a string",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn value_in_words(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {text:?}"),
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "a list".into(),
        other => format!("the {} {other}", other.type_str()),
    }
}
