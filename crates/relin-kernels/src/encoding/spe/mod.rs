//! Stochastic positional encoding (SPE): positional attention as the covariance of Gaussian processes.
//!
//! ```text
//! score(s, t) = Σ_d q_d k_d P_d(s − t),      P_d(s − t) = E[ Q̄_d(s) K̄_d(t) ]
//! q̂_s = Σ_d q_d Q̄_d(s, ·) / (RK)^¼,   k̂_t = Σ_d k_d K̄_d(t, ·) / (RK)^¼      with R draws of (Q̄, K̄)
//! E[ q̂_s · k̂_t ] = √(R/K) score(s, t)
//! ```
//!
//! It acts before the feature map, and what follows divides inner products by √R. [`SineSpe`] makes P a sum of
//! cosines, [`ConvSpe`] the correlation of two filters. A gate mixes a part without position into either:
//! `P' = (1 − g) P + g`.
//!
//! # Reference
//! Liutkus et al., ICML 2021 (arXiv 2105.08399); semantics of the authors' PyTorch code, aliutkus/spe.

mod conv;
mod gate;
#[cfg(test)]
mod golden;
mod lattice;
mod noise;
mod phases;
mod sine;

pub use conv::{ConvSpe, ConvSpeConfig};
pub use gate::gates_from_jax;
pub use sine::{Normalization, SineSpe, SineSpeConfig};

use serde::{Deserialize, Serialize};

use super::EncodingError;

/// What becomes of the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseMode {
    /// Another draw whenever the caller asks for one ([`redrawn`](super::Encoding::redrawn)), as in the reference.
    Redrawn,
    /// One draw for good.
    Frozen,
    /// No noise: the limit R → ∞. sineSPE has it as features of width `(2·sines + 1)·K`; convSPE has not.
    Exact,
}

/// Realizations beyond which counters of the noise would overlap.
const MOST_REALIZATIONS: usize = 1 << 16;

fn check_count(field: &'static str, found: usize, most: usize) -> Result<(), EncodingError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    let expected = format!("between 1 and {most}");
    Err(EncodingError::BadValue { field, expected, found: found.to_string() })
}

/// `1/(1 + e^−x)`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `K × K` with `diagonal(d)` on the diagonal.
fn diagonal(k: usize, diagonal: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut w = vec![0.0; k * k];
    (0..k).for_each(|d| w[d * k + d] = diagonal(d));
    w
}
