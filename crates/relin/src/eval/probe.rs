//! Scores of a probe, at any length.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

use super::EvalError;
use crate::hub::{Loaded, load_network};
use crate::model::CausalLm;
use crate::recipe::LEAST_PROBE;
use crate::tasks::Probe;

/// Tokens that are scored at each length, about.
const TOKENS: usize = 1 << 16;
/// Tokens scored at once.
const AT_ONCE: usize = 1 << 12;

/// Scores of a probe at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct ProbeEvaluation {
    /// Tokens of a sequence.
    pub length: usize,
    /// Nats an answer.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// What guessing gets.
    pub chance: f64,
    /// Answers.
    pub answers: usize,
}

/// Scores a run of a probe at every length, the run's own if there is none; `report` is called after each.
///
/// # Errors
/// If the run cannot be read, a length is below [`LEAST_PROBE`], or learned absolute positions end before it.
pub fn evaluate_probe(
    run: &Path,
    lengths: &[usize],
    report: &mut dyn FnMut(&ProbeEvaluation),
) -> Result<(), EvalError> {
    let Loaded { model, recipe, .. } = load_network(run, |config| CausalLm::new(config, 0, &Device::flex()))?;
    let (own, config) = ([recipe.data.context], recipe.data.probe);
    for &length in if lengths.is_empty() { &own[..] } else { lengths } {
        if length < LEAST_PROBE {
            return Err(EvalError::TooShort { length, least: LEAST_PROBE });
        }
        if let Some(limit) = model.max_positions().filter(|&limit| length > limit) {
            return Err(EvalError::TooLong { length, limit });
        }
        let rows = (AT_ONCE / length).max(1);
        let batches = (TOKENS / (rows * length)).max(1);
        let (loss, accuracy, answers) =
            Probe::new(config).score(&model, recipe.train.seed, length, batches, rows);
        let chance = 1.0 / config.symbols as f64;
        report(&ProbeEvaluation { length, loss, accuracy, chance, answers });
    }
    Ok(())
}
