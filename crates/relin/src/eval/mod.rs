//! Scores of trained models: of language models, of classifiers and regressions, of encoder-decoders, of music, of probes.

mod bleu;
mod classes;
mod language_model;
mod music;
mod numbers;
mod probe;
mod sequences;
mod style;

pub use bleu::bleu;
pub use classes::{ClassEvaluation, ClassOptions, ClassResult, evaluate_classes};
pub use language_model::{EvalOptions, Evaluation, evaluate};
pub use music::{Bucket, MusicEvalOptions, MusicEvaluation, evaluate_music};
pub use numbers::{NumberEvaluation, evaluate_numbers};
pub use probe::{ProbeEvaluation, evaluate_probe};
pub use sequences::{SequenceEvaluation, SequenceOptions, evaluate_sequences};
pub use style::{Likeness, Style, StyleOptions, evaluate_style};

use crate::data::DataError;
use crate::hub::HubError;
use crate::runlog::RunlogError;

/// Told from time to time how many examples are scored, and how many there are.
pub type Watch<'a> = dyn FnMut(usize, usize) + 'a;

/// Why a run cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The run.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The predictions cannot be written.
    #[error(transparent)]
    Write(#[from] RunlogError),
    /// No such part of the data.
    #[error("no split `{found}`; there is {known}")]
    Split {
        /// What was asked for.
        found: String,
        /// What there is.
        known: &'static str,
    },
    /// Nothing to compare predictions with.
    #[error(
        "none of the {examples} examples has a class (column `{column}`), so there is nothing to score; \
         `--predictions FILE.tsv` writes what the model chooses"
    )]
    NoLabels {
        /// The column where classes were looked for.
        column: String,
        /// Examples there are.
        examples: usize,
    },
    /// A sequence without room for a question and its answer.
    #[error("length {length}: a probe takes at least {least} tokens")]
    TooShort {
        /// Length asked for.
        length: usize,
        /// Shortest length.
        least: usize,
    },
    /// Learned absolute positions end somewhere.
    #[error("length {length}: the model's learned absolute positions end at {limit}")]
    TooLong {
        /// Length asked for.
        length: usize,
        /// Longest length.
        limit: usize,
    },
}

fn check_positions(length: usize, limit: Option<usize>) -> Result<(), EvalError> {
    match limit.filter(|&limit| length > limit) {
        Some(limit) => Err(EvalError::TooLong { length, limit }),
        None => Ok(()),
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
