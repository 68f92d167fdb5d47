//! Shaw's relative keys: `b(q, Δ) = q·c_{clip(Δ)}`, with one learned vector for each lag up to a longest one.
//!
//! # Reference
//! Shaw et al., "Self-attention with relative position representations" (arXiv 1803.02155), Eq. 4–5, without the vectors added
//! to values.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Bias, Lags};
use crate::buffers;
use crate::encoding::{EncodingError, Parameter, Place};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::rng::Rng;

/// Largest `max_distance`.
const LONGEST: usize = 1 << 20;

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
    /// If no lag has a vector, or too many have.
    pub fn new(config: &ShawConfig, place: Place) -> Result<Self, EncodingError> {
        if !(1..=LONGEST).contains(&config.max_distance) {
            let (expected, found) = (format!("from 1 to {LONGEST}"), config.max_distance.to_string());
            return Err(EncodingError::BadValue { field: "max_distance", expected, found });
        }
        Ok(Self { config: config.clone(), place })
    }

    /// Which vector a lag has.
    fn index(&self, lag: i64) -> usize {
        let longest = self.config.max_distance as i64;
        (lag.clamp(-longest, longest) + longest) as usize
    }

    /// The vectors that a range of lags needs.
    fn vectors(&self, lags: Range<i64>) -> Range<usize> {
        if lags.is_empty() { 0..0 } else { self.index(lags.start)..self.index(lags.end - 1) + 1 }
    }

    /// The elements of those vectors among the parameters.
    fn elements(&self, vectors: &Range<usize>) -> Range<usize> {
        vectors.start * self.place.key_dim..vectors.end * self.place.key_dim
    }

    /// Keys `a..b` of a row have vectors of their own, from the returned one on; those before share the first vector,
    /// those after the last.
    fn own(&self, lags: Lags, row: usize) -> (Range<usize>, usize) {
        let longest = self.config.max_distance as i64;
        let own = lags.below(row, -longest)..lags.below(row, longest + 1);
        let first = self.index(lags.start_of(row) + own.start as i64);
        (own, first)
    }
}

impl<R: Real> Bias<R> for Shaw {
    /// `vectors`: `[1, 2·max_distance + 1, K]`, from lag `−max_distance` on.
    fn parameters(&self) -> Vec<Parameter> {
        let (rows, k) = (2 * self.config.max_distance + 1, self.place.key_dim);
        let bound = (6.0 / (rows + k) as f64).sqrt();
        let rng = Rng::new(self.config.seed, (self.place.layer as u64) << 32 | 6);
        let init = (0..(rows * k) as u64).map(|i| bound * (2.0 * rng.uniform(i) - 1.0)).collect();
        vec![Parameter { name: "vectors", shape: vec![1, rows, k], init, multiplies_position: false }]
    }

    fn at(&self, params: &[R], _head: usize, q: &[R], lag: i64) -> R {
        let vector = &params[self.index(lag) * self.place.key_dim..];
        q.iter().zip(vector).map(|(&q, &c)| q * c).sum()
    }

    /// One product with all vectors that the block needs; each row then takes its lags from it.
    fn add(&self, params: &[R], _head: usize, lags: Lags, q: &[R], logits: &mut [R]) {
        let (k, vectors) = (self.place.key_dim, self.vectors(lags.ascending()));
        let mut products = buffers::take(lags.rows() * vectors.len());
        let (q, c) =
            (Mat::new(q, lags.rows(), k), Mat::new(&params[self.elements(&vectors)], vectors.len(), k));
        matmul(&mut products, Into::Overwrite, q, c.t());
        let products = products.chunks_exact(vectors.len().max(1));
        for (r, (row, products)) in logits.chunks_exact_mut(lags.keys().max(1)).zip(products).enumerate() {
            let (own, first) = self.own(lags, r);
            row[..own.start].iter_mut().for_each(|x| *x += products[0]);
            row[own.end..].iter_mut().for_each(|x| *x += products[products.len() - 1]);
            if !own.is_empty() {
                let products = &products[first - vectors.start..];
                row[own].iter_mut().zip(products).for_each(|(x, &p)| *x += p);
            }
        }
    }

    fn vjp(
        &self,
        params: &[R],
        _head: usize,
        lags: Lags,
        q: &[R],
        d_logits: &[R],
        d_q: &mut [R],
        d_params: &mut [f64],
    ) {
        let (k, vectors) = (self.place.key_dim, self.vectors(lags.ascending()));
        let elements = self.elements(&vectors);
        let mut d_products = buffers::take(lags.rows() * vectors.len());
        d_products.fill(R::ZERO);
        let rows = d_products.chunks_exact_mut(vectors.len().max(1));
        for (r, (d_products, d)) in rows.zip(d_logits.chunks_exact(lags.keys().max(1))).enumerate() {
            let (own, first) = self.own(lags, r);
            let last = d_products.len() - 1;
            d_products[0] += d[..own.start].iter().copied().sum::<R>();
            d_products[last] += d[own.end..].iter().copied().sum::<R>();
            if !own.is_empty() {
                let d_products = &mut d_products[first - vectors.start..];
                d_products.iter_mut().zip(&d[own]).for_each(|(sum, &d)| *sum += d);
            }
        }
        let d_products = Mat::new(&d_products, lags.rows(), vectors.len());
        matmul(d_q, Into::Accumulate, d_products, Mat::new(&params[elements.clone()], vectors.len(), k));
        let mut d_vectors = buffers::take(elements.len());
        matmul(&mut d_vectors, Into::Overwrite, d_products.t(), Mat::new(q, lags.rows(), k));
        d_params[elements].iter_mut().zip(&*d_vectors).for_each(|(sum, d)| *sum += d.to_f64());
    }

    fn products(&self, lags: Range<i64>) -> usize {
        self.vectors(lags).len()
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
        shaw.add(&[1.0, 2.0, 3.0, 4.0, 5.0], 0, Lags::new(100, 1, 96, 9), &[10.0], &mut logits);
        assert_eq!(logits, [10.0, 10.0, 10.0, 20.0, 30.0, 40.0, 50.0, 50.0, 50.0]);
        assert!(
            Shaw::new(&ShawConfig { max_distance: 0, seed: 0 }, Place { key_dim: 1, heads: 1, layer: 0 })
                .is_err()
        );
    }
}
