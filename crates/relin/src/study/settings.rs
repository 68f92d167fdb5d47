//! `set`: keys of a recipe with values, as a study states them.

use toml::{Table, Value};

use crate::recipe::Override;

/// Stands for the seed of the run in every value of a study.
const SEED: &str = "{seed}";

/// Keys and values of a table. Keys may be paths (`"model.position.basis" = "dct"`) or tables in tables; a table that has a
/// `type` is a value.
pub(super) fn settings(table: &Table) -> Vec<Override> {
    let mut all = Vec::new();
    expand("", table, &mut all);
    all
}

fn expand(path: &str, table: &Table, all: &mut Vec<Override>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Table(inner) if !inner.contains_key("type") && !inner.is_empty() => {
                expand(&path, inner, all);
            }
            value => all.push(Override { path, value: value.clone() }),
        }
    }
}

/// The settings with the seed in its places.
pub(super) fn with_seed(settings: &[Override], seed: u64) -> Vec<Override> {
    let one = |set: &Override| Override { path: set.path.clone(), value: seeded(&set.value, seed) };
    settings.iter().map(one).collect()
}

fn seeded(value: &Value, seed: u64) -> Value {
    match value {
        // Seeds fit: they are TOML integers themselves.
        Value::String(text) if text == SEED => Value::Integer(seed as i64),
        Value::Array(items) => Value::Array(items.iter().map(|item| seeded(item, seed)).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.clone(), seeded(value, seed))).collect())
        }
        other => other.clone(),
    }
}

/// The settings below one key moved below another: what a task calls the encoding may be the inside of another one.
pub(super) fn moved(settings: &[Override], from: &str, to: &str) -> Vec<Override> {
    let one = |set: &Override| {
        let path = match set.path.strip_prefix(from) {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => format!("{to}{rest}"),
            _ => set.path.clone(),
        };
        Override { path, value: set.value.clone() }
    };
    settings.iter().map(one).collect()
}

/// Whether two keys are one, or one lies below the other.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let below = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    below(one, other) || below(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let sets = settings(&toml::from_str(text).unwrap());
        sets.into_iter().map(|set| (set.path, set.value.to_string())).collect()
    }

    #[test]
    fn paths_and_tables_say_the_same() {
        let expected = vec![("model.position.basis".to_string(), "\"dct\"".to_string())];
        assert_eq!(parsed("\"model.position.basis\" = \"dct\""), expected);
        assert_eq!(parsed("model.position.basis = \"dct\""), expected);
        let [(path, value)] = &parsed("model = { position = { type = \"decay\" } }")[..] else { panic!() };
        assert!(path == "model.position" && value.contains("decay"), "{path} {value}");
    }

    #[test]
    fn seeds_find_their_places_at_any_depth() {
        let sets = settings(
            &toml::from_str("model.position = { type = \"a\", inner = { seed = \"{seed}\" } }").unwrap(),
        );
        let seeded = with_seed(&sets, 7);
        assert_eq!(seeded[0].value["inner"]["seed"].as_integer(), Some(7));
    }

    #[test]
    fn keys_overlap_by_whole_words() {
        assert!(overlap("model.position", "model.position.basis") && overlap("a.b", "a.b"));
        assert!(!overlap("model.position", "model.position_stage"));
    }

    #[test]
    fn settings_move_by_whole_words() {
        let sets =
            settings(&toml::from_str("\"model.position.basis\" = 1\n\"model.position_stage\" = 2").unwrap());
        let paths: Vec<String> =
            moved(&sets, "model.position", "model.position.inner").into_iter().map(|set| set.path).collect();
        assert_eq!(paths, ["model.position.inner.basis", "model.position_stage"]);
    }
}
