//! Scores of trained models: of language models here, of classifiers in [`evaluate_classes`].

mod bleu;
mod classes;
mod probe;
mod sequences;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use crate::data::{Batch, Corpus, DataError, TextSource, TokenStore};
use crate::hub::{self, HubError, TrainedModel};
use crate::model::CausalLm;
use crate::ops;
use crate::runlog::RunlogError;
use crate::tokenizer::Tokenizer;
pub use bleu::bleu;
pub use classes::{ClassEvaluation, ClassOptions, ClassResult, evaluate_classes};
pub use probe::{ProbeEvaluation, evaluate_probe};
pub use sequences::{SequenceEvaluation, SequenceOptions, evaluate_sequences};

/// Sums over targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Of the losses, in nats.
    pub nats: f64,
    /// Targets that were the likeliest token.
    pub right: usize,
    /// Targets.
    pub targets: usize,
    /// Bytes that the targets stand for.
    pub bytes: usize,
}

impl Scores {
    /// Mean loss, nats a target.
    pub fn loss(&self) -> f64 {
        self.nats / self.targets as f64
    }

    /// `e^loss`.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Loss in bits, divided by the bytes of the text rather than by tokens.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes as f64
    }

    /// Share of targets that were the likeliest token.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.targets as f64
    }
}

/// Scores the targets of some windows; each window is a text of its own.
pub fn score(model: &CausalLm, tokenizer: &Tokenizer, windows: impl Iterator<Item = Batch>) -> Scores {
    let mut scores = Scores::default();
    for batch in windows {
        let logits = model.logits(batch.inputs, [batch.rows, batch.length], 0);
        let [_, vocab] = logits.dims();
        let flat = ops::to_vec(logits.clone());
        let right =
            flat.chunks(vocab).zip(&batch.targets).filter(|(row, target)| argmax(row) == **target as usize);
        scores.right += right.count();
        scores.nats +=
            ops::token_losses(logits, &batch.targets).iter().map(|&loss| f64::from(loss)).sum::<f64>();
        scores.targets += batch.targets.len();
        scores.bytes += tokenizer.byte_count(&batch.targets);
    }
    scores
}

fn argmax(row: &[f32]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (1..row.len()).fold(0, better)
}

/// What to score a run on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalOptions {
    /// Other data than the run's own: a file, folder, glob or set.
    pub data: Option<PathBuf>,
    /// `validation` (the default) or `training` of the run's data; of other data there is only `all`.
    pub split: Option<String>,
    /// Context lengths; the run's own if empty.
    pub lengths: Vec<usize>,
}

/// Scores at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct Evaluation {
    /// Which part of the data.
    pub split: String,
    /// Context length.
    pub length: usize,
    /// Nats a target.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Bits a byte of text.
    pub bits_per_byte: f64,
    /// Share of targets that were the likeliest token.
    pub accuracy: f64,
    /// Targets.
    pub tokens: usize,
}

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

/// Targets scored at once, whatever the length.
const TOKENS_AT_ONCE: usize = 4096;

/// Scores a run at every length; `report` is called after each.
///
/// # Errors
/// See [`EvalError`].
pub fn evaluate(
    run: &Path,
    options: &EvalOptions,
    report: &mut dyn FnMut(&Evaluation),
) -> Result<(), EvalError> {
    let trained = hub::load(run, &Device::flex())?;
    let (split, store) = store(run, &trained, options)?;
    let own = [trained.recipe.data.context];
    let lengths = if options.lengths.is_empty() { &own[..] } else { &options.lengths };
    for &length in lengths {
        if let Some(limit) = trained.model.max_positions().filter(|&limit| length > limit) {
            return Err(EvalError::TooLong { length, limit });
        }
        let windows = store.evaluation_windows(length, (TOKENS_AT_ONCE / length).max(1))?;
        let scores = score(&trained.model, &trained.tokenizer, windows);
        report(&Evaluation {
            split: split.clone(),
            length,
            loss: scores.loss(),
            perplexity: scores.perplexity(),
            bits_per_byte: scores.bits_per_byte(),
            accuracy: scores.accuracy(),
            tokens: scores.targets,
        });
    }
    Ok(())
}

fn store(
    run: &Path,
    trained: &TrainedModel,
    options: &EvalOptions,
) -> Result<(String, TokenStore), EvalError> {
    let cache = run.join("cache");
    let tokenizer = trained.tokenizer.clone();
    if let Some(path) = &options.data {
        let split = options.split.clone().unwrap_or_else(|| "all".into());
        if split != "all" {
            return Err(EvalError::Split { found: split, known: "`all` of --data" });
        }
        let text = TextSource::open(&path.to_string_lossy())?;
        return Ok((split, TokenStore::open(&text, &tokenizer, &cache, "other")?));
    }
    let split = options.split.clone().unwrap_or_else(|| "validation".into());
    let corpus = Corpus::open(&trained.recipe.data, Some(tokenizer), &cache)?;
    match split.as_str() {
        "validation" => Ok((split, corpus.validation)),
        "training" => Ok((split, corpus.training)),
        _ => Err(EvalError::Split { found: split, known: "`training` and `validation`" }),
    }
}
