//! Shaw's relative keys: `b(q, Δ) = q·c_{clip(Δ)} / √K`, with one learned vector for each lag up to a longest one.
//!
//! # Reference
//! Shaw et al., "Self-attention with relative position representations" (arXiv 1803.02155), Eq. 4–5, without the vectors added
//! to values.

use serde::{Deserialize, Serialize};

use super::Bias;
use crate::encoding::{EncodingError, Parameter, Place};
use crate::real::Real;
use crate::rng::Rng;

/// Shaw's relative keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShawConfig {
    /// Longest lag with a vector of its own.
    pub max_distance: usize,
    /// Seed of the initial vectors.
    pub seed: u64,
}

impl Default for ShawConfig {
    fn default() -> Self {
        Self { max_distance: 16, seed: 0 }
    }
}

/// Shaw's relative keys in one layer; all heads share the vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaw {
    config: ShawConfig,
    place: Place,
}

impl Shaw {
    /// Builds the bias of one layer.
    ///
    /// # Errors
    /// If no lag has a vector.
    pub fn new(config: &ShawConfig, place: Place) -> Result<Self, EncodingError> {
        if config.max_distance == 0 {
            let (expected, found) = ("at least 1".into(), "0".into());
            return Err(EncodingError::BadValue { field: "max_distance", expected, found });
        }
        Ok(Self { config: config.clone(), place })
    }

    fn scale(&self) -> f64 {
        (self.place.key_dim as f64).powf(-0.5)
    }

    /// Where the vector of a lag begins.
    fn at(&self, lag: i64) -> usize {
        let longest = self.config.max_distance as i64;
        (lag.clamp(-longest, longest) + longest) as usize * self.place.key_dim
    }
}

impl<R: Real> Bias<R> for Shaw {
    /// `vectors`: `[1, 2·max_distance + 1, K]`, from lag `−max_distance` on.
    fn parameters(&self) -> Vec<Parameter> {
        let (rows, k) = (2 * self.config.max_distance + 1, self.place.key_dim);
        let bound = (6.0 / (rows + k) as f64).sqrt();
        let rng = Rng::new(self.config.seed, (self.place.layer as u64) << 32 | 6);
        let init = (0..(rows * k) as u64).map(|i| bound * (2.0 * rng.uniform(i) - 1.0)).collect();
        vec![Parameter { name: "vectors", shape: vec![1, rows, k], init }]
    }

    fn add(&self, params: &[R], _head: usize, q: &[R], query: i64, first_key: i64, logits: &mut [R]) {
        let scale = R::from_f64(self.scale());
        for (key, logit) in (first_key..).zip(logits) {
            let vector = &params[self.at(key - query)..][..q.len()];
            *logit += scale * q.iter().zip(vector).map(|(&q, &c)| q * c).sum::<R>();
        }
    }

    fn vjp(
        &self,
        params: &[R],
        _head: usize,
        q: &[R],
        query: i64,
        first_key: i64,
        d_logits: &[R],
        d_q: &mut [R],
        d_params: &mut [f64],
    ) {
        for (key, &d) in (first_key..).zip(d_logits) {
            let (at, d) = (self.at(key - query), R::from_f64(self.scale()) * d);
            for j in 0..q.len() {
                d_q[j] += d * params[at + j];
                d_params[at + j] += (d * q[j]).to_f64();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_lags_share_the_last_vector() {
        let shaw =
            Shaw::new(&ShawConfig { max_distance: 2, seed: 0 }, Place { key_dim: 1, heads: 1, layer: 0 })
                .unwrap();
        let mut logits = [0.0f64; 9];
        shaw.add(&[1.0, 2.0, 3.0, 4.0, 5.0], 0, &[10.0], 100, 96, &mut logits);
        assert_eq!(logits, [10.0, 10.0, 10.0, 20.0, 30.0, 40.0, 50.0, 50.0, 50.0]);
        assert!(
            Shaw::new(&ShawConfig { max_distance: 0, seed: 0 }, Place { key_dim: 1, heads: 1, layer: 0 })
                .is_err()
        );
    }
}
