//! The tokens of a piece: which tokenization, its names, its grammar.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MusicError, Score, events, grid, remi};
use crate::recipe::{MusicConfig, Tokenization};

/// The token that stands before the first of a piece, in every tokenization.
pub const BEGIN: u32 = 0;

/// A tokenization, and the pitches that each of its parts is to keep to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// Which.
    pub tokenization: Tokenization,
    /// Whether `remi` tells instruments and drums.
    pub programs: bool,
    /// Of each part the lowest and the highest pitch; none where it never sounds. See [`Vocabulary::parts`].
    pub ranges: Vec<Option<(u8, u8)>>,
}

impl Vocabulary {
    /// That of a recipe, with all pitches.
    pub fn new(config: &MusicConfig) -> Self {
        let (tokenization, programs) = (config.tokenization, config.programs);
        let mut vocabulary = Self { tokenization, programs, ranges: Vec::new() };
        vocabulary.ranges = vec![Some((0, 127)); vocabulary.parts().len()];
        vocabulary
    }

    /// Names of the parts that have pitches of their own: the four voices; pitches and drums; bass, drums and harmony.
    pub fn parts(&self) -> &'static [&'static str] {
        match self.tokenization {
            Tokenization::Grid => &grid::VOICES,
            Tokenization::Remi => &["pitches", "drums"],
            Tokenization::Events => &["bass", "drums", "harmony"],
        }
    }

    /// Number of tokens, [`BEGIN`] included.
    pub fn size(&self) -> usize {
        match self.tokenization {
            Tokenization::Grid => grid::TOKENS,
            Tokenization::Remi => remi::tokens(self.programs),
            Tokenization::Events => events::TOKENS,
        }
    }

    /// What a token is called.
    pub fn name(&self, token: u32) -> String {
        match self.tokenization {
            Tokenization::Grid => grid::name(token),
            Tokenization::Remi => remi::name(token),
            Tokenization::Events => events::name(token),
        }
    }

    /// Tokens of a step, where every step has as many.
    pub fn tokens_per_step(&self) -> Option<usize> {
        (self.tokenization == Tokenization::Grid).then_some(4)
    }

    /// The tokens of a score, without [`BEGIN`].
    ///
    /// # Errors
    /// If nothing of it can be said in these tokens.
    pub fn encode(&self, score: &Score) -> Result<Vec<u32>, MusicError> {
        match self.tokenization {
            Tokenization::Grid => match grid::encode(&grid::from_score(score)) {
                tokens if tokens.is_empty() => Err(MusicError::NoNotes { without: " besides drums" }),
                tokens => Ok(tokens),
            },
            Tokenization::Remi => remi::encode(score, self.programs),
            Tokenization::Events => events::encode(score),
        }
    }

    /// The tokens of steps of four voices, which `grid` keeps as they are, silence at the end included.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_steps(&self, steps: &[grid::Step]) -> Result<Vec<u32>, MusicError> {
        match self.tokenization {
            Tokenization::Grid if steps.iter().flatten().any(Option::is_some) => Ok(grid::encode(steps)),
            _ => self.encode(&grid::to_score(steps)),
        }
    }

    /// The score of tokens; what is out of place says nothing.
    pub fn decode(&self, tokens: &[u32]) -> Score {
        match self.tokenization {
            Tokenization::Grid => grid::to_score(&grid::steps(tokens)),
            Tokenization::Remi => remi::decode(tokens),
            Tokenization::Events => events::decode(tokens),
        }
    }

    /// Part and pitch of a token that has one.
    pub fn pitch_of(&self, token: u32) -> Option<(usize, u8)> {
        match self.tokenization {
            Tokenization::Grid => grid::pitch_of(token),
            Tokenization::Remi => remi::pitch_of(token),
            Tokenization::Events => events::pitch_of(token),
        }
    }

    /// Whether a part has drums instead of pitches.
    pub fn is_drums(&self, part: usize) -> bool {
        self.parts()[part] == "drums"
    }

    /// The token so many semitones higher; drums stay.
    pub fn transpose(&self, token: u32, by: i32) -> u32 {
        match self.tokenization {
            Tokenization::Grid => grid::transpose(token, by),
            Tokenization::Remi => remi::transpose(token, by),
            Tokenization::Events => events::transpose(token, by),
        }
    }

    /// The token in a piece that is so many times as fast.
    pub fn scale_tempo(&self, token: u32, factor: f64) -> u32 {
        match self.tokenization {
            Tokenization::Remi => remi::scale_tempo(token, factor),
            _ => token,
        }
    }

    /// Whether a part of a piece may begin before token number `at`: with a quarter note, with a bar, anywhere.
    pub fn may_begin(&self, at: usize, token: u32) -> bool {
        match self.tokenization {
            Tokenization::Grid => at.is_multiple_of(16),
            Tokenization::Remi => remi::is_bar(token),
            Tokenization::Events => true,
        }
    }

    /// What may follow, from the beginning of a piece on.
    pub fn grammar(&self) -> Grammar<'_> {
        let state = match self.tokenization {
            Tokenization::Grid => State::Grid(grid::Grammar::default()),
            Tokenization::Remi => State::Remi(remi::Grammar::default()),
            Tokenization::Events => State::Events(events::Grammar::default()),
        };
        Grammar { vocabulary: self, state }
    }

    /// What is wrong with this vocabulary if it was read from a file.
    fn fault(&self) -> Option<String> {
        let (expected, found) = (self.parts().len(), self.ranges.len());
        if expected != found {
            return Some(format!("ranges: expected {expected}, one for each part, found {found}"));
        }
        let wrong = self.ranges.iter().flatten().find(|&&(low, high)| low > high || high > 127)?;
        Some(format!("ranges: expected pitches of 0 to 127, the lower first, found {wrong:?}"))
    }
}

/// What may follow the tokens so far.
#[derive(Clone, Debug)]
pub struct Grammar<'a> {
    vocabulary: &'a Vocabulary,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Grid(grid::Grammar),
    Remi(remi::Grammar),
    Events(events::Grammar),
}

impl Grammar<'_> {
    /// One more token.
    pub fn push(&mut self, token: u32) {
        match &mut self.state {
            State::Grid(state) => state.push(token),
            State::Remi(state) => state.push(token),
            State::Events(state) => state.push(token),
        }
    }

    /// Whether the grammar allows a token, and its pitch lies in the range of its part; what ends a note may lie anywhere.
    pub fn allows(&self, token: u32) -> bool {
        let within = match (self.vocabulary.pitch_of(token), &self.state) {
            (Some((part, pitch)), State::Grid(_) | State::Remi(_)) => self.in_range(part, pitch),
            (Some((part, pitch)), State::Events(_)) => events::is_off(token) || self.in_range(part, pitch),
            // An instrument needs a pitch that it may play.
            (None, State::Remi(_)) => !remi::is_program(token) || self.vocabulary.ranges[0].is_some(),
            (None, _) => true,
        };
        within
            && match &self.state {
                State::Grid(state) => state.allows(token),
                State::Remi(state) => state.allows(token),
                State::Events(state) => state.allows(token),
            }
    }

    fn in_range(&self, part: usize, pitch: u8) -> bool {
        self.vocabulary.ranges[part].is_some_and(|(low, high)| (low..=high).contains(&pitch))
    }
}

/// Name of the vocabulary in a run's folder and in a folder of tokens.
pub const VOCABULARY_FILE: &str = "music.json";

/// A vocabulary as it is written: with the names of its tokens, for whoever reads them elsewhere.
#[derive(Serialize, Deserialize)]
struct Document {
    relin_music: u64,
    #[serde(flatten)]
    vocabulary: Vocabulary,
    tokens: Vec<String>,
}

const VERSION: u64 = 1;

impl Vocabulary {
    /// The text of this vocabulary's file.
    pub fn document(&self) -> String {
        let document = Document {
            relin_music: VERSION,
            vocabulary: self.clone(),
            tokens: (0..self.size() as u32).map(|token| self.name(token)).collect(),
        };
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    /// Reads a vocabulary's file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let document: Document = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if document.relin_music != VERSION {
            let found = document.relin_music;
            return Err(format!("relin_music: version {found}; this build of relin reads version {VERSION}"));
        }
        document.vocabulary.fault().map_or(Ok(document.vocabulary.clone()), Err)
    }
}

#[cfg(test)]
mod tests;
