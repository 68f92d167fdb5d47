//! Decay with the distance, alone or on top of another encoding: `W_Δ = λ_h^{|Δ|} W'_Δ`.
//!
//! λ is a property of the state, `S ← λ S + k̃ v^T`; the maps are those of the inner encoding. Multiplying queries by
//! `λ^s` and keys by `λ^{−t}` instead would overflow after some hundred tokens.
//!
//! # Reference
//! Alone: RetNet (arXiv 2307.08621), Lightning Attention; with LRPE: LRPE-d of TransNormerLLM (arXiv 2307.14995), Eq. 9–10.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Agreement, Decay, Encoder, Encoding, EncodingConfig, EncodingError, Parameter, Place, Side, Stage,
};
use crate::real::Real;
use crate::simd::Lanes;

/// How λ is spread over H heads, h = 0 … H − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayRule {
    /// `λ_h = exp(−2^{−8(h+1)/H})`: ALiBi's slopes, as in TransNormerLLM.
    Slopes,
    /// `λ_h = 1 − 2^{−5−h}`: RetNet.
    Retention,
    /// `λ_h = σ(3h/H + 2)`: PermuteFormer.
    Sigmoid,
}

/// Smallest λ: it leaves nothing of the token before, and its inverse is far from overflow.
const LEAST: f64 = 1e-9;

/// A decay around an encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecayConfig {
    /// How λ is spread over the heads.
    pub rule: DecayRule,
    /// λ of each head, instead of the rule.
    pub lambdas: Option<Vec<f64>>,
    /// Layers of the model, L. With it, layer l has the slopes `−ln λ` times `1 − l/(L − 1) + 1e-5`: later layers look farther.
    pub layers: Option<usize>,
    /// What decays.
    pub inner: Box<EncodingConfig>,
}

impl Default for DecayConfig {
    fn default() -> Self {
        Self { rule: DecayRule::Slopes, lambdas: None, layers: None, inner: Box::new(EncodingConfig::None) }
    }
}

/// An encoding whose scores shrink with the distance.
#[derive(Clone, Debug)]
pub struct Decaying<R: Real> {
    inner: Arc<dyn Encoding<R>>,
    lambdas: Vec<f64>,
}

impl<R: Lanes> Decaying<R> {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If a λ is not in [1e-9, 1], there is not one for every head, or the inner encoding acts before the feature map,
    /// decays itself, or cannot be built.
    pub fn new(config: &DecayConfig, place: Place) -> Result<Self, EncodingError> {
        let lambdas = lambdas(config, place)?;
        let inner = config.inner.build::<R>(place)?;
        if inner.stage() != Stage::AfterFeatureMap || inner.decay(0) != Decay::None {
            let expected = "an encoding that acts after the feature map and does not decay itself".into();
            return Err(EncodingError::BadValue {
                field: "inner",
                expected,
                found: format!("{:?}", config.inner),
            });
        }
        Ok(Self { inner, lambdas })
    }
}

fn lambdas(config: &DecayConfig, place: Place) -> Result<Vec<f64>, EncodingError> {
    let heads = place.heads;
    let rule = |h: usize| match config.rule {
        DecayRule::Slopes => (-(-8.0 * (h + 1) as f64 / heads as f64).exp2()).exp(),
        DecayRule::Retention => 1.0 - (-5.0 - h as f64).exp2(),
        DecayRule::Sigmoid => 1.0 / (1.0 + (-3.0 * h as f64 / heads as f64 - 2.0).exp()),
    };
    let lambdas = config.lambdas.clone().unwrap_or_else(|| (0..heads).map(rule).collect());
    if lambdas.len() != heads || !lambdas.iter().all(|lambda| (LEAST..=1.0).contains(lambda)) {
        let expected = format!("{heads} numbers from {LEAST:e} to 1, one a head");
        return Err(EncodingError::BadValue { field: "lambdas", expected, found: format!("{lambdas:?}") });
    }
    let Some(layers) = config.layers else { return Ok(lambdas) };
    if place.layer >= layers {
        let expected = format!("more than {}, the layer that is built", place.layer);
        return Err(EncodingError::BadValue { field: "layers", expected, found: layers.to_string() });
    }
    let share = 1.0 - place.layer as f64 / (layers - 1).max(1) as f64 + 1e-5;
    Ok(lambdas.into_iter().map(|lambda| lambda.powf(share)).collect())
}

impl<R: Real> Encoding<R> for Decaying<R> {
    fn key_dim(&self) -> usize {
        self.inner.key_dim()
    }

    fn encoded_dim(&self) -> usize {
        self.inner.encoded_dim()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.inner.parameters()
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        self.inner.bind(params)
    }

    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        self.kernel_between(params, head, 0, lag)
    }

    fn kernel_between(&self, params: &[R], head: usize, query: i64, key: i64) -> Vec<f64> {
        let factor = Decay::Uniform(self.lambdas[head]).factor(0, key - query);
        self.inner.kernel_between(params, head, query, key).into_iter().map(|w| factor * w).collect()
    }

    fn decay(&self, head: usize) -> Decay {
        Decay::Uniform(self.lambdas[head])
    }

    fn is_unitary(&self) -> bool {
        self.inner.is_unitary()
    }

    fn agreement(&self) -> Agreement {
        self.inner.agreement()
    }

    fn logit_scale(&self) -> f64 {
        self.inner.logit_scale()
    }

    fn dense_map(&self, params: &[R], side: Side, head: usize, position: i64) -> Option<Vec<f64>> {
        self.inner.dense_map(params, side, head, position)
    }

    fn shared_parameters(&self) -> &'static [&'static str] {
        self.inner.shared_parameters()
    }

    fn halo(&self) -> usize {
        self.inner.halo()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { key_dim: 2, heads: 4, layer: 1 };

    fn at(config: &DecayConfig, head: usize) -> f64 {
        match Decaying::<f64>::new(config, PLACE).unwrap().decay(head) {
            Decay::Uniform(lambda) => lambda,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules() {
        let with = |rule| DecayConfig { rule, ..DecayConfig::default() };
        assert!((at(&with(DecayRule::Slopes), 0) - (-0.25f64).exp()).abs() < 1e-15);
        assert!((at(&with(DecayRule::Slopes), 3) - (-1.0 / 256.0f64).exp()).abs() < 1e-15);
        assert_eq!(at(&with(DecayRule::Retention), 0), 31.0 / 32.0);
        assert!((at(&with(DecayRule::Sigmoid), 0) - 0.880_797_077_977_882).abs() < 1e-15);
        let deep = DecayConfig { layers: Some(3), ..DecayConfig::default() };
        assert!((at(&deep, 0) - (-0.25 * (0.5 + 1e-5f64)).exp()).abs() < 1e-15);
    }

    #[test]
    fn a_million_tokens_away_nothing_overflows() {
        let encoding = Decaying::<f32>::new(&DecayConfig::default(), PLACE).unwrap();
        for lag in [-1_000_000, 1_000_000] {
            assert!(encoding.kernel(&[], 0, lag).iter().all(|w| *w == 0.0));
        }
        let mut out = [0.0; 2];
        encoding.bind(&[]).encode(Side::Key, 0, 1_000_000, &[1.0, -2.0], &mut out);
        assert_eq!(out, [1.0, -2.0]);
    }

    #[test]
    fn impossible_configurations_are_refused() {
        let refused = |config: DecayConfig| Decaying::<f64>::new(&config, PLACE).unwrap_err().to_string();
        let few = refused(DecayConfig { lambdas: Some(vec![0.5; 3]), ..DecayConfig::default() });
        assert!(few.starts_with("lambdas must be 4 numbers from 1e-9 to 1"), "{few}");
        let growing = refused(DecayConfig { lambdas: Some(vec![1.5; 4]), ..DecayConfig::default() });
        assert!(growing.contains("1.5"), "{growing}");
        let twice = refused(DecayConfig {
            inner: Box::new(EncodingConfig::Decay(DecayConfig::default())),
            ..DecayConfig::default()
        });
        assert!(twice.starts_with("inner must be"), "{twice}");
        let shallow = refused(DecayConfig { layers: Some(1), ..DecayConfig::default() });
        assert!(shallow.starts_with("layers must be more than 1"), "{shallow}");
    }
}
