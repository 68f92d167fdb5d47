//! What can go wrong with text.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::music::MusicError;
use crate::tokenizer::TokenizerError;

/// Why text, its tokens or a set could not be had.
#[derive(Debug, Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither a path nor the name of a set.
    #[error("no file, folder or built-in set `{name}`{hint}")]
    Missing {
        /// What was asked for.
        name: String,
        /// The nearest set, as a question, unless it was clearly a path.
        hint: String,
    },
    /// A set of the catalogue that is not here yet.
    #[error("the set `{name}` is not at {}: `relin data {verb} {name}` brings it", path.display())]
    NotHere {
        /// The set.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
        /// `get` or `make`.
        verb: &'static str,
    },
    /// A glob without matches.
    #[error("no file matches `{pattern}`")]
    NoMatch {
        /// The glob.
        pattern: String,
    },
    /// A malformed glob.
    #[error("the pattern `{pattern}` is malformed: {reason}")]
    Pattern {
        /// The glob.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files, but no text in them.
    #[error("there is no text in {name}")]
    Empty {
        /// The file, folder or glob.
        name: String,
    },
    /// A row of a table.
    #[error("{}, line {line}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// In the file, from 1.
        line: usize,
        /// Expected and found.
        reason: String,
    },
    /// Labelled examples that are not what they should be.
    #[error("{name}: {reason}")]
    Examples {
        /// The file, or its row.
        name: String,
        /// Expected and found.
        reason: String,
    },
    /// A file of music.
    #[error("{}: {source}", path.display())]
    Music {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MusicError,
    },
    /// A file that should be text.
    #[error("{file}: invalid UTF-8 at byte {offset}; only the tokenizer `byte` takes any bytes")]
    InvalidUtf8 {
        /// The file.
        file: String,
        /// How many of its bytes stand before.
        offset: usize,
    },
    /// A text that the tokenizer refuses.
    #[error("{file}, in the piece that begins at byte {offset}: {source}")]
    Encode {
        /// The file.
        file: String,
        /// Where the piece begins.
        offset: usize,
        /// Why.
        source: TokenizerError,
    },
    /// The tokenizer itself.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A share that leaves one side empty.
    #[error("validation = {found}: expected a share of the text above 0 and below 1")]
    Share {
        /// The share.
        found: f64,
    },
    /// Less text than one window.
    #[error("the {split} split has {tokens} tokens, but one window of context {context} needs {}", context + 1)]
    TooShort {
        /// `training`, `validation` or another name.
        split: String,
        /// How many tokens there are.
        tokens: usize,
        /// Tokens of a window's inputs; the targets need one more.
        context: usize,
    },
    /// A number that must not be zero.
    #[error("{name} must be at least 1")]
    Zero {
        /// Which.
        name: &'static str,
    },
    /// No such set.
    #[error("no set is called `{name}`{hint}")]
    UnknownSet {
        /// What was asked for.
        name: String,
        /// The nearest set, as a question, and all there are.
        hint: String,
    },
    /// `get` for a set that is made, or `make` for one that is fetched.
    #[error("the set `{name}` cannot be had this way: use `relin data {verb} {name}`")]
    WrongVerb {
        /// The set.
        name: String,
        /// The verb that does it.
        verb: &'static str,
    },
    /// An option of a generated set out of bounds.
    #[error("{option} = {found} for `{name}`: expected {least} to {most}")]
    OptionRange {
        /// The set.
        name: String,
        /// The option.
        option: &'static str,
        /// What was given.
        found: u64,
        /// Smallest value.
        least: u64,
        /// Largest value.
        most: u64,
    },
    /// An option for a set that is written as it is.
    #[error("`{name}` is carried by relin as it is: `{option}` says nothing about it")]
    NoOption {
        /// The set.
        name: String,
        /// The option.
        option: &'static str,
    },
    /// Bytes that are not the set's.
    #[error("wrong SHA-256 for `{name}` from {origin}: expected {expected}, found {found}")]
    Checksum {
        /// The set.
        name: String,
        /// Address or file.
        origin: String,
        /// What the catalogue says.
        expected: String,
        /// What came.
        found: String,
    },
    /// No program to download with.
    #[error(
        "nothing here can download {url}: none of {tried} is installed; fetch it yourself and pass --from FILE"
    )]
    NoDownloader {
        /// The address.
        url: String,
        /// The programs looked for.
        tried: String,
    },
    /// A program that ran and failed.
    #[error("{program} failed ({status}) on {subject}: {message}")]
    Program {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The address or file it worked on.
        subject: String,
        /// What it wrote to its error stream.
        message: String,
    },
}

impl DataError {
    /// Whether a set was asked for in words that mean nothing, rather than something failing.
    pub fn is_usage(&self) -> bool {
        use DataError::{NoOption, OptionRange, UnknownSet, WrongVerb};
        matches!(self, UnknownSet { .. } | WrongVerb { .. } | OptionRange { .. } | NoOption { .. })
    }

    /// Names what was done to which file, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
