//! Chorales of four voices as JSON: `{"train": [piece, …], "valid": …, "test": …}`, a piece being a list of steps
//! `[soprano, alto, tenor, bass]` of a sixteenth note each, a voice its MIDI pitch or −1 where it is silent. A file may also
//! hold a list of pieces, or one piece alone.

use std::path::Path;

use serde_json::Value;

use super::grid::Step;
use super::midi::MOST_BYTES;
use super::{MusicError, grid};
use crate::data::DataError;

/// Splits by the names that files give them.
const SPLITS: [&str; 3] = ["train", "valid", "test"];

/// A piece of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chorale {
    /// `train`, `valid` or `test`, where the file has splits.
    pub split: Option<&'static str>,
    /// Which one of its split, from 1.
    pub number: usize,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// The pieces of a file.
///
/// # Errors
/// If it cannot be read, is no JSON, or as [`parse_jsb`].
pub fn read_jsb(path: &Path) -> Result<Vec<Chorale>, DataError> {
    let music = |source| DataError::Music { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    if bytes > MOST_BYTES {
        return Err(music(MusicError::TooLarge { bytes }));
    }
    let text = std::fs::read(path).map_err(DataError::io("read", path))?;
    parse_jsb(&text).map_err(music)
}

/// The pieces of a file's bytes.
///
/// # Errors
/// Names the split, the piece and the step of what is not as it should be.
pub fn parse_jsb(text: &[u8]) -> Result<Vec<Chorale>, MusicError> {
    let document = serde_json::from_slice(text)
        .map_err(|error| wrong("the file", "JSON", format!("what cannot be parsed: {error}")))?;
    match document {
        Value::Object(splits) => {
            let mut all = Vec::new();
            for (name, value) in &splits {
                let known = SPLITS.iter().find(|split| *split == name);
                let split = *known.ok_or_else(|| {
                    wrong("the file", "the splits train, valid and test", format!("`{name}`"))
                })?;
                all.extend(pieces(value, Some(split), name)?);
            }
            // In the order of the names that are known, not of the alphabet.
            all.sort_by_key(|piece| SPLITS.iter().position(|split| Some(*split) == piece.split));
            Ok(all)
        }
        Value::Array(ref list) if depth(&list.first()) == 2 => {
            Ok(vec![Chorale { split: None, number: 1, steps: steps(&document, "the piece")? }])
        }
        Value::Array(_) => pieces(&document, None, "the file"),
        other => Err(wrong("the file", "splits, or a list of pieces", kind(&other))),
    }
}

/// How many lists lie in each other.
fn depth(value: &Option<&Value>) -> usize {
    match value {
        Some(Value::Array(list)) => 1 + depth(&list.first()).max(1),
        _ => 0,
    }
}

fn pieces(value: &Value, split: Option<&'static str>, name: &str) -> Result<Vec<Chorale>, MusicError> {
    let list = value.as_array().ok_or_else(|| wrong(name, "a list of pieces", kind(value)))?;
    let piece = |(at, value): (usize, &Value)| {
        let steps = steps(value, &format!("{name}, piece {}", at + 1))?;
        Ok(Chorale { split, number: at + 1, steps })
    };
    list.iter().enumerate().map(piece).collect()
}

fn steps(value: &Value, place: &str) -> Result<Vec<Step>, MusicError> {
    let list = value.as_array().ok_or_else(|| wrong(place, "a list of steps", kind(value)))?;
    if list.is_empty() {
        return Err(wrong(place, "at least one step", "none".into()));
    }
    list.iter().enumerate().map(|(at, value)| step(value, &format!("{place}, step {}", at + 1))).collect()
}

fn step(value: &Value, place: &str) -> Result<Step, MusicError> {
    const EXPECTED: &str = "four voices, [soprano, alto, tenor, bass]";
    let list = value.as_array().ok_or_else(|| wrong(place, EXPECTED, kind(value)))?;
    let voices: &[Value; 4] =
        list.as_slice().try_into().map_err(|_| wrong(place, EXPECTED, format!("{} numbers", list.len())))?;
    let mut step = [None; 4];
    for ((place_of, value), name) in step.iter_mut().zip(voices).zip(grid::VOICES) {
        // Some copies of such files have 60.0 for 60.
        let whole = value.as_f64().filter(|x| x.fract() == 0.0);
        *place_of = match whole {
            Some(-1.0) => None,
            Some(pitch) if (0.0..=127.0).contains(&pitch) => Some(pitch as u8),
            _ => {
                let place = format!("{place}, {name}");
                return Err(wrong(&place, "a MIDI pitch of 0 to 127, or -1 for silence", kind(value)));
            }
        };
    }
    Ok(step)
}

fn wrong(place: &str, expected: &str, found: String) -> MusicError {
    MusicError::Json { place: place.into(), expected: expected.into(), found }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_lists_and_single_pieces_are_read() {
        let text = r#"{"valid": [[[60, 55, 52, -1]]], "train": [[[60, 55, 52, 48], [62.0, 55, 52, 48]], [[1, 2, 3, 4]]]}"#;
        let pieces = parse_jsb(text.as_bytes()).unwrap();
        let splits: Vec<_> = pieces.iter().map(|piece| (piece.split.unwrap(), piece.number)).collect();
        assert_eq!(splits, [("train", 1), ("train", 2), ("valid", 1)]);
        assert_eq!(pieces[0].steps[1], [Some(62), Some(55), Some(52), Some(48)]);
        assert_eq!(pieces[2].steps[0][3], None);
        let one = parse_jsb(b"[[60, 55, 52, 48], [60, 55, 52, 48]]").unwrap();
        assert_eq!((one.len(), one[0].steps.len(), one[0].split), (1, 2, None));
        assert_eq!(parse_jsb(b"[[[60, 55, 52, 48]], [[60, 55, 52, 48]]]").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_split_piece_and_step() {
        for (text, words) in [
            (
                r#"{"train": [[[1, 2, 3, 4], [1, 2, 3, 4, 5]]]}"#,
                "train, piece 1, step 2: expected four voices",
            ),
            (
                r#"{"train": [[[1, 2, 3, 4]], [[1, 2, 3, 128]]]}"#,
                "train, piece 2, step 1, bass: expected a MIDI pitch",
            ),
            (r#"{"train": [[[1, 2, 3, 1.5]]]}"#, "found 1.5"),
            (
                r#"{"train": [[[1, 2, null, 4]]]}"#,
                "tenor: expected a MIDI pitch of 0 to 127, or -1 for silence, found null",
            ),
            (r#"{"train": [[[1, 2, "x", 4]]]}"#, "found the text \"x\""),
            (r#"{"train": [[[1, -2, 3, 4]]]}"#, "alto"),
            (r#"{"train": [[]]}"#, "train, piece 1: expected at least one step"),
            (r#"{"train": [5]}"#, "train, piece 1: expected a list of steps, found 5"),
            (r#"{"train": {}}"#, "train: expected a list of pieces, found an object"),
            (r#"{"tran": []}"#, "`tran`"),
            ("7", "expected splits, or a list of pieces, found 7"),
            ("{", "expected JSON"),
        ] {
            let error = parse_jsb(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
