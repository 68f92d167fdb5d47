//! Scores of models of music: of pieces, whole or joined, at any length and by position.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use super::{EvalError, check_positions};
use crate::data::music::{Music, Pieces};
use crate::hub::{TrainedMusic, load_music};
use crate::model::TokenModel;
use crate::tasks::music::{LONGEST_PART, whole};
use crate::tasks::{BUCKET, PlacedScores};

/// Tokens scored at once, about.
const AT_ONCE: usize = 8192;

/// What to score a model of music on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MusicEvalOptions {
    /// Other data than the run's own.
    pub data: Option<PathBuf>,
    /// `validation` (the default), `training` or `test` of the run's data; of other data there is only `all`.
    pub split: Option<String>,
    /// Context lengths: tokens that are read from nothing on. Whole pieces if empty.
    pub lengths: Vec<usize>,
    /// Whether pieces are joined, so that lengths beyond theirs are reached.
    pub concatenate: bool,
}

/// Scores of a model of music at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct MusicEvaluation {
    /// Which part of the data.
    pub split: String,
    /// Most tokens that are read from nothing on.
    pub length: usize,
    /// Whether pieces were left whole.
    pub whole: bool,
    /// Whether pieces were joined.
    pub concatenated: bool,
    /// Nats a token.
    pub loss: f64,
    /// Nats of all tokens of a step, where every step has as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_per_step: Option<f64>,
    /// `e^loss`.
    pub perplexity: f64,
    /// Share of tokens that were the likeliest.
    pub accuracy: f64,
    /// Tokens.
    pub tokens: usize,
    /// Pieces.
    pub pieces: usize,
    /// By how many tokens the model had seen.
    pub positions: Vec<Bucket>,
}

/// Scores of some positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// The first position.
    pub from: usize,
    /// The position after the last.
    pub to: usize,
    /// Nats a token.
    pub loss: f64,
    /// Tokens.
    pub tokens: usize,
}

/// Scores a run of a model of music at every length; `report` is called after each.
///
/// # Errors
/// See [`EvalError`].
pub fn evaluate_music(
    run: &Path,
    options: &MusicEvalOptions,
    report: &mut dyn FnMut(&MusicEvaluation),
) -> Result<(), EvalError> {
    let trained = load_music(run, &Device::flex())?;
    let (split, pieces) = pieces(&trained, options.data.as_deref(), options.split.as_deref())?;
    let count = pieces.len();
    let pieces = if options.concatenate { pieces.concatenated(&trained.vocabulary) } else { pieces };
    let model = &trained.model;
    let evaluation = |length: usize, whole: bool, scores: PlacedScores| MusicEvaluation {
        split: split.clone(),
        length,
        whole,
        concatenated: options.concatenate,
        loss: scores.total.loss(),
        loss_per_step: trained.vocabulary.tokens_per_step().map(|n| n as f64 * scores.total.loss()),
        perplexity: scores.total.perplexity(),
        accuracy: scores.total.accuracy(),
        tokens: scores.total.targets,
        pieces: count,
        positions: buckets(&scores),
    };
    if options.lengths.is_empty() {
        let longest = (0..pieces.len()).map(|piece| pieces.tokens(piece).len()).max().unwrap_or(0);
        let reached = model.max_positions().unwrap_or(LONGEST_PART).min(LONGEST_PART);
        let scores = PlacedScores::of(model, whole(&pieces, model, AT_ONCE));
        report(&evaluation(longest.min(reached), longest <= reached, scores));
    }
    for &length in &options.lengths {
        check_positions(length, model.max_positions())?;
        let scores = PlacedScores::of(model, pieces.windows(length, AT_ONCE));
        report(&evaluation(length, false, scores));
    }
    Ok(())
}

fn buckets(scores: &PlacedScores) -> Vec<Bucket> {
    let with_tokens = scores.buckets.iter().enumerate().filter(|(_, sum)| sum.targets > 0);
    let bucket = |(at, sum): (usize, &crate::tasks::TokenScores)| Bucket {
        from: at * BUCKET,
        to: (at + 1) * BUCKET,
        loss: sum.loss(),
        tokens: sum.targets,
    };
    with_tokens.map(bucket).collect()
}

/// The pieces that are meant, and what they are called.
pub(super) fn pieces(
    trained: &TrainedMusic,
    data: Option<&Path>,
    split: Option<&str>,
) -> Result<(String, Pieces), EvalError> {
    if let Some(path) = data {
        return match split.unwrap_or("all") {
            "all" => Ok(("all".into(), Music::others(path, &trained.vocabulary)?)),
            other => Err(EvalError::Split { found: other.into(), known: "`all` of --data" }),
        };
    }
    let recipe = &trained.recipe;
    let music = Music::open(&recipe.data, recipe.train.seed, Some(trained.vocabulary.clone()))?;
    let split = split.unwrap_or("validation");
    let found = match split {
        "validation" => Some(music.validation),
        "training" => Some(music.training),
        "test" => music.test,
        _ => None,
    };
    let known = "`training` and `validation`, and `test` if the data have one";
    found.map(|pieces| (split.to_owned(), pieces)).ok_or(EvalError::Split { found: split.into(), known })
}
