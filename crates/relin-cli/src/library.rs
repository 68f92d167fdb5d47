//! The calls into the library behind each verb, and what they take and give.

use std::path::{Path, PathBuf};

use relin::recipe::Recipe;
use relin::runlog::Resume;
use relin::train::events::{Observer, Outcome};
use serde::Serialize;

use crate::failure::Failure;

/// What to score a run on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalOptions {
    /// Other data than the run's own.
    pub data: Option<PathBuf>,
    /// Which split; `validation` if not given.
    pub split: Option<String>,
    /// Context lengths; the run's own if empty.
    pub lengths: Vec<usize>,
}

/// Scores at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct Evaluation {
    pub split: String,
    pub length: usize,
    pub loss: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    pub tokens: usize,
}

/// How to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    pub prompt: String,
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token always.
    pub temperature: f64,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    /// Texts that end the writing.
    pub stop: Vec<String>,
    pub seed: u64,
    pub load_state: Option<PathBuf>,
    pub save_state: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "generated")]
pub struct Generated {
    pub text: String,
    pub tokens: usize,
    pub tokens_per_second: f64,
}

/// Trains in `out`, whose standing towards the recipe was checked.
pub fn train(_: &Recipe, _out: &Path, _: Resume, _: &mut dyn Observer) -> Result<Outcome, Failure> {
    Err(Failure::Unavailable { what: "train" })
}

/// Scores `run`; `report` is called after every length.
pub fn evaluate(_run: &Path, _: &EvalOptions, _report: &mut dyn FnMut(&Evaluation)) -> Result<(), Failure> {
    Err(Failure::Unavailable { what: "evaluate" })
}

/// Writes with `run`; `on_text` is called with every piece as it comes.
pub fn generate(
    _run: &Path,
    _: &GenerateOptions,
    _on_text: &mut dyn FnMut(&str),
) -> Result<Generated, Failure> {
    Err(Failure::Unavailable { what: "generate" })
}
