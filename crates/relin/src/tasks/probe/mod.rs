//! `probe`: made sequences with exact answers, to see what an architecture can do at all.

mod sequences;

use std::marker::PhantomData;
use std::path::Path;

use burn::tensor::Device;
use relin_kernels::rng::Rng;

use super::{Score, Task, TokenScores};
use crate::data::Batch;
use crate::model::{ModelError, TokenModel};
use crate::recipe::{ProbeConfig, Recipe};
use crate::train::TrainError;
use sequences::{Sequence, sequence};

/// A probe has no data but its seed.
#[derive(Debug)]
pub struct Probe<M> {
    config: ProbeConfig,
    model: PhantomData<M>,
}

/// The streams of random numbers of sequences to train on, and of those to score.
const TRAINING: u64 = u64::from_le_bytes(*b"probe-tr");
const HELD_OUT: u64 = u64::from_le_bytes(*b"probe-ev");
/// Batches of an evaluation whose number the recipe leaves open.
const BATCHES: usize = 16;

impl<M: TokenModel> Probe<M> {
    /// A probe of a recipe.
    pub fn new(config: ProbeConfig) -> Self {
        Self { config, model: PhantomData }
    }

    fn batch_of(&self, stream: Rng, first: u64, rows: usize, length: usize) -> Batch {
        let mut batch = Batch { inputs: Vec::new(), targets: Vec::new(), rows, length, segments: None };
        for row in 0..rows as u64 {
            let rng = Rng::new(stream.word(first + row), TRAINING);
            let Sequence { inputs, targets } = sequence(&self.config, rng, length);
            batch.inputs.extend(inputs);
            batch.targets.extend(targets);
        }
        batch
    }

    /// Scores of `batches` batches of sequences of a length that are never trained on.
    pub fn score(&self, model: &M, seed: u64, length: usize, batches: usize, rows: usize) -> TokenScores {
        let mut scores = TokenScores::default();
        for at in 0..batches {
            scores.add(model, &self.batch_of(Rng::new(seed, HELD_OUT), (at * rows) as u64, rows, length));
        }
        scores
    }
}

impl<M: TokenModel> Task for Probe<M> {
    type Model = M;

    fn open(recipe: &mut Recipe, _folder: &Path, _resuming: bool) -> Result<Self, TrainError> {
        let config = recipe.data.probe;
        recipe.resolve(Some(config.tokens()));
        Ok(Self::new(config))
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<M, ModelError> {
        M::build(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<Batch, TrainError> {
        let train = &recipe.train;
        let batch = ((step - 1) * train.gradient_accumulation + micro) as u64;
        let first = batch * train.batch_size as u64;
        Ok(self.batch_of(Rng::new(train.seed, TRAINING), first, train.batch_size, recipe.data.context))
    }

    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        recipe.train.batch_size * recipe.data.context
    }

    fn evaluate(&self, recipe: &Recipe, model: &M) -> Result<Score, TrainError> {
        let train = &recipe.train;
        let batches = if train.eval_batches == 0 { BATCHES } else { train.eval_batches };
        let scores = self.score(model, train.seed, recipe.data.context, batches, train.batch_size);
        Ok(Score { loss: scores.loss(), accuracy: Some(scores.accuracy()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CausalLm;

    #[test]
    fn batches_depend_on_the_seed_and_their_number_alone() {
        let probe = Probe::<CausalLm>::new(ProbeConfig::default());
        let batch = |seed, first| probe.batch_of(Rng::new(seed, TRAINING), first, 2, 8);
        assert_eq!(batch(1, 0), batch(1, 0));
        assert_ne!(batch(1, 0), batch(2, 0));
        assert_eq!(batch(1, 0).inputs[8..], batch(1, 1).inputs[..8], "rows are numbered through");
    }
}
