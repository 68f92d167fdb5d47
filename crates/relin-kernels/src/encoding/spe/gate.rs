//! The gate: how much of each feature's score knows no position.

use super::sigmoid;
use crate::encoding::Parameter;

/// One head's gates, `g = σ(raw)`: `Q̄ ← √(1 − g) Q̄ + √g ε`, so that `P' = (1 − g) P + g`. Without parameters, g = 0.
#[derive(Clone, Debug)]
pub(super) struct Gates(Vec<(f64, f64)>);

impl Gates {
    /// For `k` features; `raw` is empty if there is no gate.
    pub fn new(k: usize, raw: &[f64]) -> Self {
        Self(match raw {
            [] => vec![(1.0, 0.0); k],
            raw => raw.iter().map(|&raw| (sigmoid(-raw), sigmoid(raw))).collect(),
        })
    }

    /// `√(1 − g_d)`, the amplitude of the positional part.
    pub fn positional(&self, d: usize) -> f64 {
        self.0[d].0.sqrt()
    }

    /// `√g_d`, the amplitude of the part without position.
    pub fn constant(&self, d: usize) -> f64 {
        self.0[d].1.sqrt()
    }

    /// `P' = (1 − g) P + g`.
    pub fn mix(&self, d: usize, p: f64) -> f64 {
        self.0[d].0 * p + self.0[d].1
    }

    /// The raw gate's gradient from the two parts' gradients for the logarithms of their amplitudes.
    pub fn raw_gradient(&self, d: usize, d_log_positional: f64, d_log_constant: f64) -> f64 {
        0.5 * (self.0[d].0 * d_log_constant - self.0[d].1 * d_log_positional)
    }
}

/// The parameter itself; standard normal at first, as in the reference.
pub(super) fn parameter(heads: usize, k: usize, draw: impl Fn(usize, usize) -> Vec<f64>) -> Parameter {
    let init = (0..heads * k).flat_map(|at| draw(at / k, at % k)).collect();
    Parameter { name: "gates", shape: vec![heads, k], init, multiplies_position: false }
}

/// Raw gates of the authors' JAX code as ours: there g weighs the positional part, in PyTorch and here the other
/// one, and `σ(−x) = 1 − σ(x)`. Its own inverse.
pub fn gates_from_jax(raw: &[f64]) -> Vec<f64> {
    raw.iter().map(|raw| -raw).collect()
}
