//! What may be chosen in the LRPE family.

use serde::{Deserialize, Serialize};

use crate::encoding::EncodingError;

/// Λ: which one-parameter group of unitary matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `Λ^(s) = diag(e^{isθ})`, real part (Solution 1): `K' = 2K`.
    Unitary,
    /// `Λ^(s) = blockdiag(R(sθ_j))`, plane rotations (Solution 2): `K' = K`.
    Orthogonal,
    /// `Λ^(s) = Π^s`, powers of a permutation (Solution 3): `K' = K`.
    Permutation,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unitary => "unitary",
            Self::Orthogonal => "orthogonal",
            Self::Permutation => "permutation",
        }
    }
}

/// P: the fixed or learned unitary matrix applied before Λ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// `P = I`.
    Identity,
    /// `P = H_m ⋯ H_1` with `H = I − 2uuᵀ`.
    Householder,
    /// Interleaves the two halves: `(Px)_{2j} = x_j`, `(Px)_{2j+1} = x_{⌈K/2⌉+j}`.
    OddEven,
    /// A permutation, given or drawn from the seed.
    Permutation,
    /// The orthonormal DCT-II.
    Dct,
    /// The unitary discrete Fourier transform (complex: family `unitary` only).
    Fourier,
}

/// Which features form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// `(0, 1), (2, 3), …`
    Interleaved,
    /// `(0, e/2), (1, e/2 + 1), …`
    Half,
}

/// How many features are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotated {
    /// All of them.
    All,
    /// The first half (rounded to an even number); the rest see no position ("mixed").
    Half,
}

/// The cycle structure of the family `permutation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cycle {
    /// Uniformly random: the period is whatever it happens to be, often below 512 for `K = 64`.
    Random,
    /// One cycle of length `K`: period `K`.
    Single,
    /// The longest period any permutation of `K` features has (Landau's function).
    Longest,
}

/// How the initial angles lie between 0 and π.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// A geometric progression from 1 down: periods of 2π up to `2π·theta_base`. Coarse over short lags.
    Geometric,
    /// `θ_j = π(j + ½)/n` for the n angles of a head: `Σ_j cos(θ_j Δ)` is n at Δ = 0 and 0 at every other lag below 2n,
    /// where it is −n. So rotations by them can tell 2n lags apart, exactly, and no more.
    Linear,
    /// `θ_j = 2πj/n`, once around: with the basis `fourier` of the family `unitary`, W is the cyclic shift of K features by
    /// the lag. (Even angles below π would cancel at odd lags there: the real part of the j-th and the (K − j)-th.)
    Cyclic,
}

/// A member of the LRPE family. Every field has a default; random choices are pure functions of `seed`, the layer
/// and (with `per_head`) the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LrpeConfig {
    /// Λ.
    pub family: Family,
    /// P.
    pub basis: Basis,
    /// Number of Householder reflections in P.
    pub reflections: usize,
    /// How the initial angles lie.
    pub spacing: Spacing,
    /// Base of the angles' geometric progression.
    pub theta_base: f64,
    /// The angles themselves, whatever `spacing`: one row, or one a head with `per_head`.
    pub theta: Option<Vec<f64>>,
    /// Train the angles.
    pub learn_theta: bool,
    /// Train the Householder vectors.
    pub learn_basis: bool,
    /// Own angles, reflections and permutations for every head, instead of shared ones.
    pub per_head: bool,
    /// Pairing of rotated features.
    pub pairs: Pairs,
    /// How many features are rotated.
    pub rotated: Rotated,
    /// Cycle structure of the permutation Λ.
    pub cycle: Cycle,
    /// π itself, for the family `permutation`: `(Λ^(t) x)_i = x_{π^t(i)}`.
    pub permutation: Option<Vec<usize>>,
    /// The permutation of the basis `permutation`: `(Px)_i = x_{p(i)}`.
    pub basis_permutation: Option<Vec<usize>>,
    /// Seed of all random choices.
    pub seed: u64,
}

impl Default for LrpeConfig {
    fn default() -> Self {
        Self {
            family: Family::Unitary,
            basis: Basis::Householder,
            reflections: 1,
            spacing: Spacing::Geometric,
            theta_base: 10_000.0,
            theta: None,
            learn_theta: false,
            learn_basis: false,
            per_head: false,
            pairs: Pairs::Interleaved,
            rotated: Rotated::All,
            cycle: Cycle::Random,
            permutation: None,
            basis_permutation: None,
            seed: 0,
        }
    }
}

impl LrpeConfig {
    /// Refuses what contradicts itself or the head size.
    pub(super) fn check(&self, k: usize) -> Result<(), EncodingError> {
        let bad = |field, expected: &str, found: String| {
            Err(EncodingError::BadValue { field, expected: expected.into(), found })
        };
        if k == 0 {
            return Err(EncodingError::TooNarrow { family: self.family.name(), needed: 1, key_dim: k });
        }
        if self.family == Family::Orthogonal {
            match self.rotated {
                Rotated::All if k % 2 == 1 => return Err(EncodingError::OddWidth { key_dim: k }),
                Rotated::Half if k < 3 => {
                    return Err(EncodingError::TooNarrow {
                        family: "rotated = \"half\"",
                        needed: 3,
                        key_dim: k,
                    });
                }
                _ => {}
            }
        }
        if self.basis == Basis::Fourier && self.family != Family::Unitary {
            return Err(EncodingError::ComplexBasis { family: self.family.name() });
        }
        if self.learn_theta && self.family == Family::Permutation {
            let reason = "the family \"permutation\" has no angles";
            return Err(EncodingError::NothingToLearn { option: "learn_theta", reason });
        }
        if self.learn_basis && self.basis != Basis::Householder {
            let reason = "only basis \"householder\" can be learned";
            return Err(EncodingError::NothingToLearn { option: "learn_basis", reason });
        }
        if self.basis == Basis::Householder && self.reflections == 0 {
            return bad("reflections", "at least 1", "0".into());
        }
        if !(self.theta_base.is_finite() && self.theta_base > 0.0) {
            return bad("theta_base", "a positive number", self.theta_base.to_string());
        }
        self.check_unread()
    }

    /// What is set and would change nothing is a mistake of whoever set it. How angles lie may be said once for all
    /// families of a study, and passes.
    fn check_unread(&self) -> Result<(), EncodingError> {
        let usual = LrpeConfig::default();
        let (family, basis) = (self.family, self.basis);
        let angles = family != Family::Permutation;
        let fields = [
            ("theta", angles, self.theta == usual.theta, "a family with angles"),
            ("pairs", family == Family::Orthogonal, self.pairs == usual.pairs, "the family \"orthogonal\""),
            (
                "rotated",
                family == Family::Orthogonal,
                self.rotated == usual.rotated,
                "the family \"orthogonal\"",
            ),
            ("cycle", !angles, self.cycle == usual.cycle, "the family \"permutation\""),
            ("permutation", !angles, self.permutation == usual.permutation, "the family \"permutation\""),
            (
                "basis_permutation",
                basis == Basis::Permutation,
                self.basis_permutation == usual.basis_permutation,
                "the basis \"permutation\"",
            ),
            (
                "reflections",
                basis == Basis::Householder,
                self.reflections == usual.reflections,
                "the basis \"householder\"",
            ),
        ];
        match fields.into_iter().find(|(_, read, usual, _)| !read && !usual) {
            Some((field, _, _, reader)) => Err(EncodingError::Unread { field, reader }),
            None => Ok(()),
        }
    }
}
