//! PermuteFormer: powers of one random permutation a head, `W_Δ = r_h^{|Δ|} Π_h^Δ`.
//!
//! The decay is the state's ([`super::Decaying`]); the original multiplies keys by `r^{−t}` and overflows.
//!
//! # Reference
//! Chen, "PermuteFormer" (arXiv 2109.02377), §3; `r_h = σ(3h/H + 2)` as in cpcp1998/PermuteFormer.

use serde::{Deserialize, Serialize};

use super::EncodingConfig;
use super::decay::{DecayConfig, DecayRule};
use super::lrpe::{Basis, Cycle, Family, LrpeConfig};

/// PermuteFormer's encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermuteformerConfig {
    /// Cycle structure of the permutations: `random` ones may repeat within some hundred positions.
    pub cycle: Cycle,
    /// Another permutation for every head, or one for all.
    pub per_head: bool,
    /// `r_h`; without it, r = 1.
    pub decay: bool,
    /// Seed of the permutations.
    pub seed: u64,
}

impl Default for PermuteformerConfig {
    fn default() -> Self {
        Self { cycle: Cycle::Random, per_head: true, decay: true, seed: 0 }
    }
}

impl PermuteformerConfig {
    /// The same in terms of its parts: a permutation, and a decay around it.
    pub fn parts(&self) -> EncodingConfig {
        let permutation = EncodingConfig::Lrpe(LrpeConfig {
            family: Family::Permutation,
            basis: Basis::Identity,
            cycle: self.cycle,
            per_head: self.per_head,
            seed: self.seed,
            ..LrpeConfig::default()
        });
        if !self.decay {
            return permutation;
        }
        let (rule, inner) = (DecayRule::Sigmoid, Box::new(permutation));
        EncodingConfig::Decay(DecayConfig { rule, inner, ..DecayConfig::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Decay, Place};

    #[test]
    fn the_kernel_is_a_scaled_permutation_of_each_head() {
        let place = Place { key_dim: 16, heads: 3, layer: 0 };
        let encoding =
            EncodingConfig::Permuteformer(PermuteformerConfig::default()).build::<f64>(place).unwrap();
        let kernels: Vec<Vec<f64>> = (0..3).map(|head| encoding.kernel(&[], head, -4)).collect();
        for (head, w) in kernels.iter().enumerate() {
            let Decay::Uniform(lambda) = encoding.decay(head) else { panic!("no decay") };
            for row in w.chunks(16) {
                assert_eq!(row.iter().filter(|w| **w != 0.0).count(), 1);
                assert!((row.iter().sum::<f64>() - lambda.powi(4)).abs() < 1e-15);
            }
        }
        assert_ne!(kernels[0], kernels[1]);
    }
}
