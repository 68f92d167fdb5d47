//! Scores of a trained encoder-decoder: of targets token by token, and of what it writes by itself.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use super::{EvalError, Watch, bleu};
use crate::data::ParallelTexts;
use crate::generate::{Found, SearchOptions, search};
use crate::hub::load_seq2seq;
use crate::recipe::{Recipe, Sources};
use crate::runlog::write_atomic;
use crate::tasks::score_targets;

/// What to score an encoder-decoder on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceOptions {
    /// Other data than the run's own: a table or JSON lines with the recipe's columns.
    pub data: Option<PathBuf>,
    /// `validation` (the default) or `training` of the run's data; of other data there is only `all`.
    pub split: Option<String>,
    /// Where to write each pair with what was written and its `log p`, in columns.
    pub predictions: Option<PathBuf>,
    /// Pass over bad rows of tables, as a recipe's `data.skip_bad_rows` does.
    pub skip_bad_rows: bool,
}

/// Scores of an encoder-decoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct SequenceEvaluation {
    /// Which part of the data.
    pub split: String,
    /// Nats a token of the targets, ends included, after the right tokens before it.
    pub loss: f64,
    /// Share of tokens that were the likeliest.
    pub accuracy: f64,
    /// Share of sources for which exactly the target was written, taking the likeliest token always.
    pub exact_match: f64,
    /// BLEU of what was written; absent where no target has four words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bleu: Option<f64>,
    /// Pairs.
    pub examples: usize,
    /// Tokens of the targets.
    pub tokens: usize,
    /// What the user should know of the data, such as rows that were skipped.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// Scores a run of an encoder-decoder.
///
/// # Errors
/// If the run or the data cannot be read, there is no such part of the data, or a pair has more tokens than the recipe's
/// context.
pub fn evaluate_sequences(
    run: &Path,
    options: &SequenceOptions,
    watch: &mut Watch,
) -> Result<SequenceEvaluation, EvalError> {
    let mut trained = load_seq2seq(run, &Device::flex())?;
    trained.recipe.data.skip_bad_rows |= options.skip_bad_rows;
    let (split, texts) = split_of(&trained.recipe, options)?;
    let context = trained.recipe.data.context;
    let tokens = texts.encode(&trained.tokenizer, context)?;
    let scores = score_targets(&trained.model, &tokens, tokens.len());
    let greedy = SearchOptions { beam: 1, most: context };
    let write = |at| {
        watch(at, tokens.len());
        search(&trained.model, &tokens.source(at), greedy)
    };
    let found: Vec<Found> = (0..tokens.len()).map(write).collect();
    let written: Vec<String> = found.iter().map(|found| trained.tokenizer.decode(&found.tokens)).collect();
    if let Some(path) = &options.predictions {
        write_atomic(path, table(&texts, &written, &found).as_bytes())?;
    }
    let pairs =
        || written.iter().zip(texts.pairs()).map(|(text, [_, target])| (text.as_str(), target.as_str()));
    let exact = pairs().filter(|(text, target)| text == target).count();
    Ok(SequenceEvaluation {
        split,
        loss: scores.loss(),
        accuracy: scores.accuracy(),
        exact_match: exact as f64 / texts.len() as f64,
        bleu: bleu(pairs()),
        examples: texts.len(),
        tokens: scores.tokens,
        warning: texts.skipped().warning(),
    })
}

fn split_of(recipe: &Recipe, options: &SequenceOptions) -> Result<(String, ParallelTexts), EvalError> {
    if let Some(path) = &options.data {
        let split = options.split.clone().unwrap_or_else(|| "all".into());
        if split != "all" {
            return Err(EvalError::Split { found: split, known: "`all` of --data" });
        }
        let sources = Sources(vec![path.display().to_string()]);
        return Ok((split, ParallelTexts::open(&sources, None, &recipe.data)?));
    }
    let split = options.split.clone().unwrap_or_else(|| "validation".into());
    let (training, validation) = ParallelTexts::of_recipe(recipe)?;
    match split.as_str() {
        "validation" => Ok((split, validation)),
        "training" => Ok((split, training)),
        _ => Err(EvalError::Split { found: split, known: "`training` and `validation`" }),
    }
}

fn table(texts: &ParallelTexts, written: &[String], found: &[Found]) -> String {
    let mut table = String::from("input\ttarget\tprediction\tlog_probability\n");
    for (([source, target], text), found) in texts.pairs().iter().zip(written).zip(found) {
        let [source, target, text] = [source, target, text].map(|text| one_field(text));
        table += &format!("{source}\t{target}\t{text}\t{:.6}\n", found.log_probability);
    }
    table
}

/// A text that stays in its column and row.
fn one_field(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}
