//! Dropout, one site of a step after another.

use burn::tensor::Tensor;
use relin_kernels::dropout::Dropout;
use relin_kernels::rng::Rng;

use super::trunk::LossOptions;
use crate::ops;

/// Drops activations at one site after another, each with its own stream of the step's generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropper {
    p: f64,
    rng: Rng,
    site: u64,
}

impl Dropper {
    pub fn new(options: LossOptions) -> Self {
        Self { p: options.dropout, rng: options.rng, site: 0 }
    }

    pub fn none() -> Self {
        Self { p: 0.0, rng: Rng::new(0, 0), site: 0 }
    }

    pub fn is_idle(&self) -> bool {
        self.p == 0.0
    }

    pub fn apply(&mut self, x: Tensor<3>) -> Tensor<3> {
        if self.is_idle() {
            return x;
        }
        self.site += 1;
        let rng = Rng::new(self.rng.word(self.site), self.site);
        let dropout = Dropout::new(self.p, rng).unwrap_or_else(|error| panic!("train.dropout: {error}"));
        ops::dropout(dropout, x)
    }
}
