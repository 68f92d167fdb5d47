//! `probe`: made sequences with exact answers, to see what an architecture can do at all.

use std::path::Path;

use burn::tensor::Device;
use relin_kernels::rng::Rng;

use super::{Score, Task};
use crate::data::Batch;
use crate::model::{CausalLm, ModelError};
use crate::ops::{self, IGNORE};
use crate::recipe::{ProbeConfig, Recipe};
use crate::train::TrainError;

/// A probe has no data but its seed.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    config: ProbeConfig,
}

/// The streams of random numbers of sequences to train on, and of those to score.
const TRAINING: u64 = u64::from_le_bytes(*b"probe-tr");
const HELD_OUT: u64 = u64::from_le_bytes(*b"probe-ev");
/// Batches of an evaluation whose number the recipe leaves open.
const BATCHES: usize = 16;

impl Probe {
    /// A probe of a recipe.
    pub fn new(config: ProbeConfig) -> Self {
        Self { config }
    }

    /// Lag retrieval, "which symbol was ℓ tokens ago": symbols drawn at random, and among them, every fourth token or so, a
    /// query for one of the lags, whose answer is the symbol that stands so many tokens before it. Only answers are
    /// targets; guessing gets one in `symbols` right.
    fn sequence(&self, rng: Rng, length: usize) -> (Vec<u32>, Vec<u32>) {
        let ProbeConfig { symbols, lags } = self.config;
        let (mut inputs, mut targets) = (Vec::with_capacity(length), vec![IGNORE; length]);
        for t in 0..length {
            let draw = |which: u64, below: usize| rng.below(4 * t as u64 + which, below as u64) as usize;
            let symbol = draw(0, symbols) as u32;
            if t == 0 || draw(1, 4) != 0 {
                inputs.push(symbol);
                continue;
            }
            let lag = 1 + draw(2, lags.min(t));
            // A query is no answer: where one stands, a symbol comes instead of another query.
            let answer = Some(inputs[t - lag]).filter(|&token| token < symbols as u32);
            inputs.push(answer.map_or(symbol, |_| (symbols + lag - 1) as u32));
            targets[t] = answer.unwrap_or(IGNORE);
        }
        (inputs, targets)
    }

    fn batch_of(&self, stream: Rng, first: u64, rows: usize, length: usize) -> Batch {
        let row = |row: usize| self.sequence(Rng::new(stream.word(first + row as u64), TRAINING), length);
        let (inputs, targets): (Vec<_>, Vec<_>) = (0..rows).map(row).unzip();
        Batch { inputs: inputs.concat(), targets: targets.concat(), rows, length }
    }

    /// Loss, accuracy and number of answers over sequences of a length that are never trained on.
    pub fn score(
        &self,
        model: &CausalLm,
        seed: u64,
        length: usize,
        batches: usize,
        rows: usize,
    ) -> (f64, f64, usize) {
        let (mut nats, mut right, mut answers) = (0.0, 0, 0);
        for at in 0..batches {
            let batch = self.batch_of(Rng::new(seed, HELD_OUT), (at * rows) as u64, rows, length);
            let logits = model.logits(batch.inputs, [rows, length], 0);
            let [_, vocab] = logits.dims();
            let losses = ops::token_losses(logits.clone(), &batch.targets);
            for ((row, &target), &loss) in ops::to_vec(logits).chunks(vocab).zip(&batch.targets).zip(&losses)
            {
                if target == IGNORE {
                    continue;
                }
                let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
                right += usize::from((1..vocab).fold(0, better) == target as usize);
                nats += f64::from(loss);
                answers += 1;
            }
        }
        (nats / answers as f64, right as f64 / answers as f64, answers)
    }
}

impl Task for Probe {
    type Model = CausalLm;

    fn open(recipe: &mut Recipe, _folder: &Path, _resuming: bool) -> Result<Self, TrainError> {
        let config = recipe.data.probe;
        recipe.resolve(Some(config.symbols + config.lags));
        Ok(Self { config })
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<CausalLm, ModelError> {
        CausalLm::new(&recipe.model, recipe.train.seed, device)
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

    fn evaluate(&self, recipe: &Recipe, model: &CausalLm) -> Result<Score, TrainError> {
        let train = &recipe.train;
        let batches = if train.eval_batches == 0 { BATCHES } else { train.eval_batches };
        let (loss, accuracy, _) =
            self.score(model, train.seed, recipe.data.context, batches, train.batch_size);
        Ok(Score { loss, accuracy: Some(accuracy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_the_symbol_that_its_query_asks_for() {
        let probe = Probe::new(ProbeConfig { symbols: 5, lags: 3 });
        let mut asked = [0; 3];
        for stream in 0..50 {
            let (inputs, targets) = probe.sequence(Rng::new(1, stream), 40);
            for (t, (&token, &target)) in inputs.iter().zip(&targets).enumerate() {
                assert_eq!(token >= 5, target != IGNORE, "token {t}");
                if token >= 5 {
                    let lag = token as usize - 4;
                    asked[lag - 1] += 1;
                    assert_eq!(target, inputs[t - lag]);
                    assert!(target < 5);
                }
            }
        }
        assert!(asked.iter().all(|&n| n > 50), "{asked:?}");
    }

    #[test]
    fn batches_depend_on_the_seed_and_their_number_alone() {
        let probe = Probe::new(ProbeConfig::default());
        let batch = |seed, first| probe.batch_of(Rng::new(seed, TRAINING), first, 2, 8);
        assert_eq!(batch(1, 0), batch(1, 0));
        assert_ne!(batch(1, 0), batch(2, 0));
        assert_eq!(batch(1, 0).inputs[8..], batch(1, 1).inputs[..8], "rows are numbered through");
    }
}
