//! xPos: rotation whose pairs decay at their own rates, `W_Δ = blockdiag(ζ_j^{|Δ|/b} R(Δθ_j))`.
//!
//! ```text
//! ζ_j = (2j/K + γ)/(1 + γ),   γ = 0.4,   b = 512
//! ```
//!
//! The original multiplies queries by `ζ^{s/b}` and keys by `ζ^{−t/b}`, which overflows at long range; here the rates belong to the
//! state ([`Decay::PerFeature`]), and the maps are rotations.
//!
//! # Reference
//! Sun et al., "A length-extrapolatable transformer" (arXiv 2212.10554), Algorithm 1.

use serde::{Deserialize, Serialize};

use super::lrpe::{Basis, Family, LrpeConfig, Pairs};
use super::{Decay, Encoder, Encoding, EncodingError, Lrpe, Parameter, Place};
use crate::real::Real;

/// xPos.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XposConfig {
    /// `b`: positions over which pair j decays by `ζ_j`.
    pub scale_base: f64,
    /// `γ`.
    pub gamma: f64,
    /// Base of the angles' geometric progression.
    pub theta_base: f64,
    /// Pairing of rotated features.
    pub pairs: Pairs,
}

impl Default for XposConfig {
    fn default() -> Self {
        Self { scale_base: 512.0, gamma: 0.4, theta_base: 10_000.0, pairs: Pairs::Half }
    }
}

/// xPos in one layer.
#[derive(Clone, Debug)]
pub struct Xpos {
    rotation: Lrpe,
    /// λ of every feature.
    lambdas: Vec<f64>,
}

/// Below it `λ^{−i}` grows beyond single precision's comfort within a chunk.
fn smallest_lambda() -> f64 {
    0.5f64.powf(1.0 / 64.0)
}

impl Xpos {
    /// Builds the encoding.
    ///
    /// # Errors
    /// If the width is odd, or a number is not positive or lets a pair decay faster than by half in 64 positions.
    pub fn new(config: &XposConfig, place: Place) -> Result<Self, EncodingError> {
        for (field, value) in [("scale_base", config.scale_base), ("gamma", config.gamma)] {
            if !(value.is_finite() && value > 0.0) {
                let expected = "a positive number".into();
                return Err(EncodingError::BadValue { field, expected, found: value.to_string() });
            }
        }
        let (k, half) = (place.key_dim, place.key_dim / 2);
        let rotation = LrpeConfig {
            family: Family::Orthogonal,
            basis: Basis::Identity,
            theta_base: config.theta_base,
            pairs: config.pairs,
            ..LrpeConfig::default()
        };
        let pair = |i: usize| match config.pairs {
            Pairs::Interleaved => i / 2,
            Pairs::Half => i % half,
        };
        let zeta = |i: usize| (2.0 * pair(i) as f64 / k as f64 + config.gamma) / (1.0 + config.gamma);
        let rotation = Lrpe::new(&rotation, place)?;
        let lambdas: Vec<f64> = (0..k).map(|i| zeta(i).powf(1.0 / config.scale_base)).collect();
        if lambdas[0] < smallest_lambda() {
            let expected =
                format!("such that λ = (γ/(1 + γ))^(1/scale_base) is at least {}", smallest_lambda());
            return Err(EncodingError::BadValue {
                field: "scale_base",
                expected,
                found: config.scale_base.to_string(),
            });
        }
        Ok(Self { rotation, lambdas })
    }

    fn inner<R: Real>(&self) -> &dyn Encoding<R> {
        &self.rotation
    }
}

impl<R: Real> Encoding<R> for Xpos {
    fn key_dim(&self) -> usize {
        self.inner::<R>().key_dim()
    }

    fn encoded_dim(&self) -> usize {
        self.inner::<R>().encoded_dim()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.inner::<R>().parameters()
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        self.rotation.bind(params)
    }

    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let (k, decay) = (self.lambdas.len(), self.inner_decay());
        let mut w = self.rotation.kernel(params, head, lag);
        for (j, row) in w.chunks_mut(k).enumerate() {
            let factor = decay.factor(j, lag);
            row.iter_mut().for_each(|w| *w *= factor);
        }
        w
    }

    fn decay(&self, _head: usize) -> Decay {
        self.inner_decay()
    }
}

impl Xpos {
    fn inner_decay(&self) -> Decay {
        Decay::PerFeature(self.lambdas.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_pairs() {
        let place = Place { key_dim: 8, heads: 1, layer: 0 };
        for (pairs, feature) in [(Pairs::Interleaved, 5), (Pairs::Half, 6)] {
            let xpos = Xpos::new(&XposConfig { pairs, ..XposConfig::default() }, place).unwrap();
            let rate = xpos.lambdas[feature].powi(512);
            assert!((rate - (0.5 + 0.4) / 1.4).abs() < 1e-12, "{pairs:?}: {rate}");
        }
        let fast = XposConfig { scale_base: 10.0, ..XposConfig::default() };
        assert!(Xpos::new(&fast, place).unwrap_err().to_string().starts_with("scale_base must be such that"));
        assert!(Xpos::new(&XposConfig::default(), Place { key_dim: 7, ..place }).is_err());
    }
}
