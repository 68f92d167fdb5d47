//! The biases of softmax attention: what is added to a logit at each lag.

use super::effective::Effective;
use super::measures::{RELATIVITY_LAGS, Relativity, SHIFTS, Symmetry, TOLERANCE};
use super::normals;
use crate::encoding::bias::{Bias, Lags};
use crate::rng::Rng;

/// One head of a bias, with values for its parameters.
#[derive(Clone, Copy, Debug)]
pub struct BiasHead<'a> {
    /// The bias.
    pub bias: &'a dyn Bias<f64>,
    /// Its parameters, flat, of all heads.
    pub params: &'a [f64],
    /// Which head.
    pub head: usize,
    /// `K`.
    pub key_dim: usize,
}

impl BiasHead<'_> {
    /// `b(q, lag)` for one query, whose position is `position`.
    pub fn at(&self, q: &[f64], position: i64, lag: i64) -> f64 {
        let scale = (self.key_dim as f64).powf(-0.5);
        let q: Vec<f64> = q.iter().map(|x| scale * x).collect();
        let (mut logit, lags) = ([0.0], Lags::new(position, 1, position + lag, 1));
        self.bias.add(self.params, self.head, lags, &q, &mut logit);
        logit[0]
    }

    /// `b(q, lag)` over standard normal q: mean and tenths. Biases that do not look at q have no spread.
    pub fn curve(&self, lags: &[i64], draws: usize, seed: u64) -> Vec<Effective> {
        let queries = normals(Rng::new(seed, 1), draws * self.key_dim);
        let scores = |lag| queries.chunks(self.key_dim).map(|q| self.at(q, 0, lag)).collect();
        lags.iter().map(|&lag| Effective::of(lag, scores(lag))).collect()
    }

    /// Compares `b(q, Δ)` with `b(q, −Δ)` at the given lags; a number is its own transpose.
    pub fn symmetry(&self, lags: &[i64]) -> Symmetry {
        let q = normals(Rng::new(0, 1), self.key_dim);
        let difference = |&lag: &i64| (self.at(&q, 0, lag) - self.at(&q, 0, -lag)).abs();
        let deviation = lags.iter().map(difference).fold(0.0, f64::max);
        Symmetry { even_deviation: deviation, transpose_deviation: deviation, tolerance: TOLERANCE }
    }

    /// Whether shifting all positions changes nothing.
    pub fn relativity(&self) -> Relativity {
        let q = normals(Rng::new(0, 1), self.key_dim);
        let mut deviation = 0.0f64;
        for (lag, shift) in RELATIVITY_LAGS.iter().flat_map(|&lag| SHIFTS.map(|shift| (lag, shift))) {
            deviation = deviation.max((self.at(&q, shift, lag) - self.at(&q, 0, lag)).abs());
        }
        let largest_shift = SHIFTS[SHIFTS.len() - 1];
        Relativity { deviation, tolerance: TOLERANCE, largest_shift, in_standard_errors: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Place;
    use crate::encoding::bias::BiasConfig;

    #[test]
    fn of_the_three() {
        let place = Place { key_dim: 4, heads: 2, layer: 0 };
        for (name, even) in [("alibi", true), ("t5", false), ("shaw", false)] {
            let bias = BiasConfig::named(name).unwrap().build::<f64>(place).unwrap();
            let params: Vec<f64> = bias.parameters().into_iter().flat_map(|p| p.init).collect();
            let head = BiasHead { bias: &*bias, params: &params, head: 1, key_dim: 4 };
            assert_eq!(head.symmetry(&[1, 2, 3]).is_even(), even, "{name}");
            assert!(head.relativity().holds(), "{name}");
            let curve = head.curve(&[-2, 5], 200, 0);
            assert_eq!(curve[0].low < curve[0].high, name == "shaw", "{name}");
            if name == "alibi" {
                assert_eq!((curve[0].mean, curve[1].mean), (-2.0 / 256.0, -5.0 / 256.0));
            }
        }
    }
}
