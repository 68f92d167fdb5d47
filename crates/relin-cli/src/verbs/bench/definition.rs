//! What is measured: definitions in TOML, those that the binary carries or one's own.

use std::num::NonZeroUsize;
use std::path::Path;

use clap::ValueEnum;
use relin::nearest::nearest;
use relin::recipe::{AttentionKind, FeatureMap, ModelConfig, Normalizer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::BenchError;
use super::position::Position;

/// Which passes are timed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The forward pass alone
    Forward,
    /// The forward pass and the gradients of q, k and v
    ForwardBackward,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::ForwardBackward => "forward-backward",
        }
    }
}

/// Sizes of an attention, all but the number of tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub batch: NonZeroUsize,
    pub heads: NonZeroUsize,
    pub key_dim: NonZeroUsize,
    pub value_dim: NonZeroUsize,
    pub chunk: NonZeroUsize,
}

/// `relin bench attention` and `encoding`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionDefinition {
    pub seconds_per_measurement: f64,
    pub threads: Vec<NonZeroUsize>,
    pub directions: Vec<Direction>,
    pub lengths: Vec<NonZeroUsize>,
    pub positions: Vec<Position>,
    pub feature_map: FeatureMap,
    pub normalizer: Normalizer,
    pub bandwidth_mib: usize,
    pub shape: Vec<Shape>,
    #[serde(default)]
    pub softmax: Option<SoftmaxDefinition>,
}

/// Softmax attention beside linear attention.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftmaxDefinition {
    pub positions: Vec<Position>,
    /// Its cost grows with the square of the length.
    pub longest: usize,
}

/// `relin bench decode`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeDefinition {
    pub seconds_per_measurement: f64,
    pub threads: Vec<NonZeroUsize>,
    pub prefixes: Vec<NonZeroUsize>,
    pub positions: Vec<Position>,
    pub feature_map: FeatureMap,
    pub normalizer: Normalizer,
    pub bandwidth_mib: usize,
    pub shape: Shape,
}

/// `relin bench train`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainDefinition {
    pub seconds_per_measurement: f64,
    pub threads: Vec<NonZeroUsize>,
    pub bandwidth_mib: usize,
    pub model: ModelConfig,
    pub variant: Vec<Variant>,
    pub shape: Vec<BatchShape>,
}

/// What replaces keys of the model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub attention: AttentionKind,
    pub position: Position,
}

/// Tokens of a training step.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchShape {
    pub batch: NonZeroUsize,
    pub length: NonZeroUsize,
}

/// A definition that the binary carries.
pub struct Carried {
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! carried {
    ($constant:ident, $file:literal) => {
        pub const $constant: Carried = Carried {
            name: concat!("benchmarks/", $file),
            text: include_str!(concat!("../../../../../benchmarks/", $file)),
        };
    };
}

carried!(ATTENTION, "attention.toml");
carried!(ENCODING, "encoding.toml");
carried!(DECODE, "decode.toml");
carried!(TRAIN, "train.toml");

/// The definition of a file, or the one that is carried.
pub fn read<T: DeserializeOwned>(file: Option<&Path>, carried: &Carried) -> Result<T, BenchError> {
    let Some(path) = file else { return parse(carried.name, carried.text) };
    let unreadable = |source| BenchError::Unreadable { path: path.into(), source };
    parse(&path.display().to_string(), &std::fs::read_to_string(path).map_err(unreadable)?)
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, BenchError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
        BenchError::Definition { name: name.into(), line, problem: explain(error.message()) }
    })
}

/// The parser's words, with the nearest of the words that it expected.
fn explain(message: &str) -> String {
    let message = message.trim();
    let Some((found, expected)) = message.split_once(", expected ") else { return message.into() };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let word = found.split('`').nth(1).filter(|_| found.starts_with("unknown "));
    match word.and_then(|word| nearest(word, known.iter().copied())) {
        Some(near) => format!("{found}, did you mean `{near}`? (known: {})", known.join(", ")),
        None => format!("expected {expected}, found {}", found.rsplit(": ").next().unwrap_or(found)),
    }
}

/// Refuses what would measure nothing, or never end.
pub fn check_time(seconds: f64) -> Result<(), BenchError> {
    if seconds.is_finite() && seconds > 0.0 {
        return Ok(());
    }
    let found = seconds.to_string();
    Err(BenchError::BadValue { field: "seconds_per_measurement", expected: "a number above 0", found })
}

/// Refuses an empty list.
pub fn check_list<T>(field: &'static str, list: &[T]) -> Result<(), BenchError> {
    if list.is_empty() {
        return Err(BenchError::BadValue { field, expected: "at least one entry", found: "none".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_binary_carries_can_be_read() {
        let attention: AttentionDefinition = read(None, &ATTENTION).unwrap();
        assert_eq!(attention.lengths.last().unwrap().get(), 131_072);
        let encoding: AttentionDefinition = read(None, &ENCODING).unwrap();
        assert!(encoding.softmax.is_none());
        let decode: DecodeDefinition = read(None, &DECODE).unwrap();
        assert_eq!(decode.prefixes.last().unwrap().get(), 1 << 20);
        let train: TrainDefinition = read(None, &TRAIN).unwrap();
        assert_eq!((train.model.hidden_size, train.model.vocab_size), (256, Some(8192)));
    }

    #[test]
    fn a_wrong_definition_is_told_with_line_and_nearest_word() {
        for (from, to, words) in [
            ("lengths", "lenghts", vec!["`lenghts`", "`lengths`", "line "]),
            ("\"elu1\"", "\"elu\"", vec!["`elu`", "`elu1`"]),
            ("\"forward\"", "\"forwards\"", vec!["`forwards`", "`forward`"]),
            ("\"none\"", "\"nine\"", vec!["`nine`", "`none`"]),
            ("heads = 8", "heads = 0", vec!["nonzero"]),
            ("heads = 8", "head = 8", vec!["`head`", "`heads`"]),
            ("[512", "[\"many\"", vec!["\"many\""]),
        ] {
            let text = ATTENTION.text.replacen(from, to, 1);
            let error = parse::<AttentionDefinition>("mine.toml", &text).unwrap_err();
            assert!(error.is_usage());
            let message = error.to_string();
            for word in words.iter().chain(&["mine.toml, line "]) {
                assert!(message.contains(word), "no {word} in {message}");
            }
        }
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        assert!(check_time(0.0).is_err() && check_time(f64::NAN).is_err() && check_time(0.1).is_ok());
        assert!(check_list::<u8>("lengths", &[]).unwrap_err().to_string().contains("`lengths`"));
    }
}
