//! T5's bias: one learned number for each head and bucket of lags. Short lags have buckets of their own, longer ones share buckets
//! whose width grows geometrically up to a longest distance.
//!
//! # Reference
//! Raffel et al. (arXiv 1910.10683), §2.1; the buckets as in its public code.

use serde::{Deserialize, Serialize};

use super::{Bias, Lags};
use crate::encoding::{EncodingError, Parameter, Place};
use crate::real::Real;
use crate::rng::Rng;

/// Largest number of buckets.
const MOST_BUCKETS: usize = 1 << 20;

/// T5's bias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct T5Config {
    /// Number of buckets; even if `bidirectional`.
    pub buckets: usize,
    /// Distance from which on all lags share the last bucket.
    pub max_distance: usize,
    /// Half of the buckets for keys after the query; otherwise these share the bucket of lag 0.
    pub bidirectional: bool,
    /// Seed of the initial table.
    pub seed: u64,
}

impl Default for T5Config {
    fn default() -> Self {
        Self { buckets: 32, max_distance: 128, bidirectional: false, seed: 0 }
    }
}

/// T5's bias in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct T5 {
    config: T5Config,
    place: Place,
}

impl T5 {
    /// Builds the bias of one layer.
    ///
    /// # Errors
    /// If there are too few buckets, or too many, or no distance is left for the wide ones.
    pub fn new(config: &T5Config, place: Place) -> Result<Self, EncodingError> {
        let sides = if config.bidirectional { 2 } else { 1 };
        let possible = 2 * sides..=MOST_BUCKETS;
        if !possible.contains(&config.buckets) || !config.buckets.is_multiple_of(2 * sides) {
            let expected = format!("a positive multiple of {}, at most {MOST_BUCKETS}", 2 * sides);
            return Err(EncodingError::BadValue {
                field: "buckets",
                expected,
                found: config.buckets.to_string(),
            });
        }
        let own = config.buckets / sides / 2;
        if config.max_distance <= own {
            let (expected, found) = (format!("more than {own}"), config.max_distance.to_string());
            return Err(EncodingError::BadValue { field: "max_distance", expected, found });
        }
        Ok(Self { config: config.clone(), place })
    }

    /// The bucket of a lag.
    pub fn bucket(&self, lag: i64) -> usize {
        let T5Config { buckets, max_distance, bidirectional, .. } = self.config;
        let (first, buckets, distance) = match bidirectional {
            true => (if lag > 0 { buckets / 2 } else { 0 }, buckets / 2, lag.unsigned_abs() as usize),
            false => (0, buckets, lag.min(0).unsigned_abs() as usize),
        };
        let own = buckets / 2;
        if distance < own {
            return first + distance;
        }
        if distance >= max_distance {
            return first + buckets - 1;
        }
        // In single precision, as the public code has it: a boundary that falls on an integer depends on the rounding.
        let share = (distance as f32 / own as f32).ln() / (max_distance as f64 / own as f64).ln() as f32;
        first + (own + (share * (buckets - own) as f32) as usize).min(buckets - 1)
    }
}

impl<R: Real> Bias<R> for T5 {
    /// `table`: `[H, buckets]`.
    fn parameters(&self) -> Vec<Parameter> {
        let shape = vec![self.place.heads, self.config.buckets];
        let rng = Rng::new(self.config.seed, (self.place.layer as u64) << 32 | 7);
        let len = (self.place.heads * self.config.buckets) as u64;
        let init = (0..len).map(|i| (self.place.heads as f64).powf(-0.5) * rng.normal(i)).collect();
        vec![Parameter { name: "table", shape, init, multiplies_position: false }]
    }

    fn at(&self, params: &[R], head: usize, _q: &[R], lag: i64) -> R {
        params[head * self.config.buckets + self.bucket(lag)]
    }

    fn add(&self, params: &[R], head: usize, lags: Lags, q: &[R], logits: &mut [R]) {
        let by_lag: Vec<R> = lags.ascending().map(|lag| self.at(params, head, q, lag)).collect();
        lags.add(logits, &by_lag);
    }

    fn vjp(
        &self,
        _params: &[R],
        head: usize,
        lags: Lags,
        _q: &[R],
        d_logits: &[R],
        _d_q: &mut [R],
        d_params: &mut [f64],
    ) {
        let table = &mut d_params[head * self.config.buckets..];
        for (lag, d) in lags.ascending().zip(lags.sums(d_logits)) {
            table[self.bucket(lag)] += d.to_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::SafeTensors;

    use super::*;

    const T: usize = 37;
    const H: usize = 3;

    /// Buckets of lags from −600 to 600 and biases of 37 tokens, computed with the public code; see `tests/golden/README.md`.
    #[test]
    fn golden() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/t5_bias.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| -> Vec<[u8; 4]> {
            tensors.tensor(name).unwrap().data().chunks(4).map(|b| b.try_into().unwrap()).collect()
        };
        for (buckets, max_distance) in [(32, 128), (16, 50)] {
            for (mode, bidirectional) in [("bidirectional", true), ("causal", false)] {
                let base = format!("buckets{buckets}.max{max_distance}");
                let config = T5Config { buckets, max_distance, bidirectional, seed: 0 };
                let t5 = T5::new(&config, Place { key_dim: 1, heads: H, layer: 0 }).unwrap();
                let expected: Vec<usize> = words(&format!("{base}.rel_-600..600.{mode}.bucket"))
                    .into_iter()
                    .map(|b| i32::from_le_bytes(b) as usize)
                    .collect();
                let found: Vec<usize> = (-600..=600).map(|lag| t5.bucket(lag)).collect();
                assert_eq!(found, expected, "{base}.{mode}");
                let f32s = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect::<Vec<_>>();
                // Theirs is [buckets, H].
                let theirs = f32s(&format!("{base}.table"));
                let table: Vec<f32> =
                    (0..H * buckets).map(|at| theirs[at % buckets * H + at / buckets]).collect();
                let bias = f32s(&format!("{base}.N37.{mode}.bias_1HNN"));
                for (row, expected) in bias.chunks(T).enumerate() {
                    let mut logits = vec![0.0f32; T];
                    t5.add(&table, row / T, Lags::new((row % T) as i64, 1, 0, T), &[], &mut logits);
                    assert_eq!(logits, expected, "{base}.{mode}, row {row}");
                }
            }
        }
    }

    #[test]
    fn impossible_configurations_are_refused() {
        let place = Place { key_dim: 1, heads: 1, layer: 0 };
        let odd = T5Config { buckets: 6, bidirectional: true, ..T5Config::default() };
        assert!(
            T5::new(&odd, place)
                .unwrap_err()
                .to_string()
                .starts_with("buckets must be a positive multiple of 4")
        );
        let near = T5Config { max_distance: 16, ..T5Config::default() };
        assert!(
            T5::new(&near, place).unwrap_err().to_string().starts_with("max_distance must be more than 16")
        );
    }
}
