//! Dropout and stochastic depth, one site of a step after another.

use burn::tensor::Tensor;
use relin_kernels::dropout::Dropout;
use relin_kernels::rng::Rng;

use super::trunk::LossOptions;
use crate::ops;

/// Drops activations, and sublayers of whole sequences, at one site after another, each with its own stream of the
/// step's generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropper {
    p: f64,
    path: f64,
    rng: Rng,
    site: u64,
    layers: usize,
    /// Blocks and sublayers begun.
    blocks: usize,
    sublayers: u64,
}

/// The stream that drops sublayers, apart from the sites of dropout.
const PATH: u64 = u64::from_le_bytes(*b"droppath");

impl Dropper {
    pub fn new(options: LossOptions, layers: usize) -> Self {
        let LossOptions { dropout: p, drop_path: path, rng, .. } = options;
        Self { p, path, rng, site: 0, layers, blocks: 0, sublayers: 0 }
    }

    pub fn none() -> Self {
        Self { p: 0.0, path: 0.0, rng: Rng::new(0, 0), site: 0, layers: 0, blocks: 0, sublayers: 0 }
    }

    pub fn is_idle(&self) -> bool {
        self.p == 0.0 && self.path == 0.0
    }

    pub fn apply(&mut self, x: Tensor<3>) -> Tensor<3> {
        if self.p == 0.0 {
            return x;
        }
        self.site += 1;
        let rng = Rng::new(self.rng.word(self.site), self.site);
        let dropout = Dropout::new(self.p, rng).unwrap_or_else(|error| panic!("train.dropout: {error}"));
        ops::dropout(dropout, x)
    }

    /// From here on in the next block.
    pub fn enter_block(&mut self) {
        self.blocks += 1;
    }

    /// What a sublayer adds to the residual stream: with dropout, and for some sequences nothing at all.
    pub fn apply_to_sublayer(&mut self, x: Tensor<3>) -> Tensor<3> {
        let x = self.apply(x);
        if self.path == 0.0 {
            return x;
        }
        self.sublayers += 1;
        let rng = Rng::new(self.rng.word(self.sublayers), PATH);
        let factors = path_factors(self.rate(self.blocks - 1), rng, x.dims()[0]);
        ops::scale_rows(x, factors)
    }

    /// Stochastic depth: the rate rises linearly from 0 at the first layer to `path` at the last.
    fn rate(&self, layer: usize) -> f64 {
        if self.layers == 1 { self.path } else { self.path * layer as f64 / (self.layers - 1) as f64 }
    }
}

/// For each sequence 0 with probability `rate`, else `1/(1 − rate)`.
fn path_factors(rate: f64, rng: Rng, rows: usize) -> Vec<f32> {
    let kept = (1.0 / (1.0 - rate)) as f32;
    (0..rows as u64).map(|row| if rng.uniform(row) < rate { 0.0 } else { kept }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_dropped_sublayers_rises_with_depth() {
        let options = LossOptions {
            dropout: 0.0,
            drop_path: 0.3,
            label_smoothing: 0.0,
            rng: Rng::new(1, 1),
            checkpointing: false,
            step: 1,
        };
        let rates: Vec<f64> = (0..4).map(|layer| Dropper::new(options, 4).rate(layer)).collect();
        assert_eq!(rates[0], 0.0);
        assert!(rates.iter().zip([0.0, 0.1, 0.2, 0.3]).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
        assert_eq!(Dropper::new(options, 1).rate(0), 0.3, "a single layer is the last");
    }

    #[test]
    fn dropped_sublayers_leave_the_mean_as_it_is() {
        let rows = 20_000;
        let factors = path_factors(0.25, Rng::new(3, 3), rows);
        let dropped = factors.iter().filter(|&&factor| factor == 0.0).count() as f64 / rows as f64;
        // Standard error: √(0.25·0.75/20000) = 0.0031.
        assert!((dropped - 0.25).abs() < 0.0123, "{dropped}");
        assert!(factors.iter().all(|&factor| factor == 0.0 || (factor - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(path_factors(0.0, Rng::new(3, 3), 5), [1.0; 5]);
    }
}
