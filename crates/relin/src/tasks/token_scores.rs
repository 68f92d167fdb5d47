//! Sums over the tokens that a model had to predict.

use crate::data::Batch;
use crate::model::TokenModel;
use crate::ops::{self, IGNORE};

/// Sums over targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenScores {
    /// Of the losses, in nats.
    pub nats: f64,
    /// Targets that were the likeliest token.
    pub right: usize,
    /// Targets.
    pub targets: usize,
}

impl TokenScores {
    /// Adds the targets of a batch; each row is a text of its own.
    pub fn add<M: TokenModel>(&mut self, model: &M, batch: &Batch) {
        let logits = model.scores(batch);
        let [_, vocab] = logits.dims();
        let losses = ops::token_losses(logits.clone(), &batch.targets);
        for ((row, &target), &loss) in ops::to_vec(logits).chunks(vocab).zip(&batch.targets).zip(&losses) {
            if target != IGNORE {
                self.nats += f64::from(loss);
                self.right += usize::from(argmax(row) == target as usize);
                self.targets += 1;
            }
        }
    }

    /// Adds other targets.
    pub fn join(&mut self, other: Self) {
        self.nats += other.nats;
        self.right += other.right;
        self.targets += other.targets;
    }

    /// Mean loss, nats a target.
    pub fn loss(&self) -> f64 {
        self.nats / self.targets as f64
    }

    /// `e^loss`.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Share of targets that were the likeliest token.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.targets as f64
    }
}

/// The first of the largest.
pub(super) fn argmax(row: &[f32]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (1..row.len()).fold(0, better)
}
