//! Scores of a trained regression.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

use super::classes::{ClassOptions, text_split};
use super::{EvalError, Watch};
use crate::data::{Answers, Labelled};
use crate::hub::{CONFIG_FILE, HubError, load_network, load_tokenizer};
use crate::model::{Classifier, ModelError};
use crate::runlog::write_atomic;
use crate::tasks::{NumberScores, regress};

/// Scores of a regression, over the examples whose number is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct NumberEvaluation {
    /// Which part of the data.
    pub split: String,
    /// Mean squared error of standardised numbers, as in training: 1 is what the mean of the trained ones would have.
    pub loss: f64,
    /// Root of the mean squared error of the numbers themselves.
    pub rmse: f64,
    /// Pearson's correlation; absent where either side does not vary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pearson: Option<f64>,
    /// Spearman's, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spearman: Option<f64>,
    /// Examples.
    pub examples: usize,
    /// Examples without a number, of which there are only predictions.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unlabelled: usize,
    /// `[number, prediction]` of each example.
    #[serde(skip)]
    pub pairs: Vec<[f64; 2]>,
    /// What the user should know of the data, such as rows that were skipped.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// Scores a run of a regression; predictions are written as `example`, `number` and `prediction`, in columns.
///
/// # Errors
/// If the run or the data cannot be read, or there is no such part of the data.
pub fn evaluate_numbers(
    run: &Path,
    options: &ClassOptions,
    watch: &mut Watch,
) -> Result<NumberEvaluation, EvalError> {
    let mut loaded = load_network(run, |config| Classifier::new(config, 0, &Device::flex()))?;
    loaded.recipe.data.skip_bad_rows |= options.skip_bad_rows;
    let standard = loaded
        .config
        .target
        .ok_or_else(|| HubError::Model { path: run.join(CONFIG_FILE), source: ModelError::NoLabels })?;
    let (split, texts) = text_split(&loaded.recipe, options)?;
    let tokenizer = load_tokenizer(run, &loaded.config, loaded.recipe.own_tokens())?;
    let (context, pair) = (loaded.recipe.data.context, loaded.config.pair);
    let examples = texts.encode(&tokenizer, Answers::Numbers(standard), context, pair)?;
    let plain = |x: f64| standard.mean + standard.deviation * x;
    let mut table = String::from("example\tnumber\tprediction\n");
    let scores = regress(&loaded.model, &examples, |at, number, found| {
        let number = if number.is_nan() { String::new() } else { format!("{:.6}", plain(number)) };
        table += &format!("{at}\t{number}\t{:.6}\n", plain(found));
        watch(at + 1, examples.len());
    });
    let unlabelled = examples.len() - scores.pairs.len();
    if scores.pairs.is_empty() && options.predictions.is_none() {
        let column = loaded.recipe.data.label_column.clone();
        return Err(EvalError::NoLabels { column, examples: unlabelled });
    }
    if let Some(path) = &options.predictions {
        write_atomic(path, table.as_bytes())?;
    }
    let pairs = scores.pairs.iter().map(|pair| pair.map(plain)).collect();
    Ok(report(split, &scores, NumberScores { pairs }, unlabelled, examples.warning()))
}

fn report(
    split: String,
    standardised: &NumberScores,
    plain: NumberScores,
    unlabelled: usize,
    warning: Option<String>,
) -> NumberEvaluation {
    let defined = |correlation: f64| (!correlation.is_nan()).then_some(correlation);
    NumberEvaluation {
        split,
        loss: standardised.loss(),
        rmse: plain.loss().sqrt(),
        pearson: defined(plain.pearson()),
        spearman: defined(plain.spearman()),
        examples: plain.pairs.len(),
        unlabelled,
        pairs: plain.pairs,
        warning,
    }
}
