//! Scores of a probe, at any length.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;

use super::{EvalError, check_positions};
use crate::hub::{HubError, Loaded, load_network};
use crate::model::{CausalLm, MaskedLm, TokenModel};
use crate::recipe::Recipe;
use crate::runlog::RECIPE_FILE;
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
    /// What guessing gets ([`chance`](crate::recipe::ProbeConfig::chance)).
    pub chance: f64,
    /// Answers.
    pub answers: usize,
}

/// Scores a run of a probe at every length, the run's own if there is none; `report` is called after each.
///
/// # Errors
/// If the run cannot be read, a length is too short for a question, or learned absolute positions end before it.
pub fn evaluate_probe(
    run: &Path,
    lengths: &[usize],
    report: &mut dyn FnMut(&ProbeEvaluation),
) -> Result<(), EvalError> {
    let recipe = Recipe::read(&run.join(RECIPE_FILE), &[]).map_err(HubError::from)?;
    match recipe.data.probe.is_causal() {
        true => evaluate_model::<CausalLm>(run, lengths, report),
        false => evaluate_model::<MaskedLm>(run, lengths, report),
    }
}

fn evaluate_model<M: TokenModel>(
    run: &Path,
    lengths: &[usize],
    report: &mut dyn FnMut(&ProbeEvaluation),
) -> Result<(), EvalError> {
    let Loaded { model, recipe, .. } = load_network(run, |config| M::build(config, 0, &Device::flex()))?;
    let (own, config) = ([recipe.data.context], recipe.data.probe);
    for &length in if lengths.is_empty() { &own[..] } else { lengths } {
        let least = config.least_length();
        if length < least {
            return Err(EvalError::TooShort { length, least });
        }
        check_positions(length, model.max_positions())?;
        let rows = (AT_ONCE / length).max(1);
        let batches = (TOKENS / (rows * length)).max(1);
        let scores = Probe::new(config).score(&model, recipe.train.seed, length, batches, rows);
        let (loss, accuracy, chance) = (scores.loss(), scores.accuracy(), config.chance());
        report(&ProbeEvaluation { length, loss, accuracy, chance, answers: scores.targets });
    }
    Ok(())
}
