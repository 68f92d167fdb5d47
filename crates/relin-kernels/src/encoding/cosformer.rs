//! cosFormer: `W_Δ = cos(πΔ/2M) I`, one slow phase for all features.
//!
//! The member of the unitary family whose angles are all `π/2M`, with P = I: `x̃_t = [x cos(πt/2M) ; x sin(πt/2M)]`.
//! Scores of non-negative features stay non-negative as long as no lag exceeds M.
//!
//! # Reference
//! Qin et al., "cosFormer" (arXiv 2202.08791), Eq. 10; there M is the length of the batch at hand, here it is a constant.

use serde::{Deserialize, Serialize};

use super::lrpe::{Basis, Family, LrpeConfig};
use super::{EncodingError, Lrpe, Place};

/// cosFormer's encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosformerConfig {
    /// `M`, the lag at which the score has fallen to 0; the longest sequence, as a rule.
    pub length: usize,
}

impl Default for CosformerConfig {
    fn default() -> Self {
        Self { length: 2048 }
    }
}

impl CosformerConfig {
    /// The encoding of one layer.
    ///
    /// # Errors
    /// If the length is 0.
    pub fn build(&self, place: Place) -> Result<Lrpe, EncodingError> {
        if self.length == 0 {
            let (expected, found) = ("at least 1".into(), "0".into());
            return Err(EncodingError::BadValue { field: "length", expected, found });
        }
        let angle = std::f64::consts::FRAC_PI_2 / self.length as f64;
        let config = LrpeConfig {
            family: Family::Unitary,
            basis: Basis::Identity,
            theta: Some(vec![angle; place.key_dim]),
            ..LrpeConfig::default()
        };
        Lrpe::new(&config, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;

    #[test]
    fn the_kernel_is_one_cosine() {
        let place = Place { key_dim: 3, heads: 1, layer: 0 };
        let encoding: &dyn Encoding<f64> = &CosformerConfig { length: 100 }.build(place).unwrap();
        for (lag, expected) in [(0, 1.0), (100, 0.0), (-50, 0.5f64.sqrt()), (200, -1.0)] {
            let w = encoding.kernel(&[], 0, lag);
            for at in 0..9 {
                let expected = if at % 4 == 0 { expected } else { 0.0 };
                assert!((w[at] - expected).abs() < 1e-12, "lag {lag}");
            }
        }
        assert!(CosformerConfig { length: 0 }.build(place).is_err());
    }
}
