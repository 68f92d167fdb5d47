//! `[data.music]`: how music becomes tokens.

use serde::{Deserialize, Serialize};

/// What the tokens of a piece say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokenization {
    /// Four voices, a token each at every sixteenth note.
    #[default]
    Grid,
    /// Bars, beats, tempos, and notes of pitch, velocity and duration.
    Remi,
    /// Notes on and off in three parts, and shifts of time.
    Events,
}

/// How music becomes tokens, and how it varies in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MusicConfig {
    /// What the tokens of a piece say.
    pub tokenization: Tokenization,
    /// Whether `remi` tells instruments and drums; else all pitches are one piano's, and there are no drums.
    pub programs: bool,
    /// Pieces are moved by up to so many semitones up or down, as far as every voice stays in its range.
    pub transpose: usize,
    /// Pieces are made faster or slower by up to this share (`remi`).
    pub tempo: f64,
    /// What is held out is scored, while training, in windows of so many tokens; without it in whole pieces, so that the
    /// weights kept are good as far as pieces reach, and not only as far as they were trained.
    pub validation_context: Option<usize>,
}

impl MusicConfig {
    /// An octave and a half: no voice goes further.
    pub const MOST_SEMITONES: usize = 18;
}
