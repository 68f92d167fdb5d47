//! The forward in tiles: scores exist for one tile at a time, rescaled as the running maximum of a row grows.
//!
//! # Reference
//! M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018, algorithm 3; T. Dao et al.,
//! "FlashAttention", NeurIPS 2022, for the tiles and the recomputing backward.

use rayon::prelude::*;

use super::logits::Block;
use super::{AttentionError, Inputs, Pair, SoftmaxAttention};
use crate::encoding::bias::Lags;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::reduce::{map_sum, max};
use crate::segments::Mask;
use crate::simd::dispatch;

/// Queries of a tile: with fewer, packing the keys for the matrix product costs more than a tenth of it.
pub(super) const QUERIES: usize = 128;
/// Keys of a tile.
pub(super) const KEYS: usize = 128;
/// Stands for the log-sum-exp of a query that sees no key: the probabilities `e^(s − ∞)` recomputed from it are 0.
const NOTHING_VISIBLE: f64 = f64::INFINITY;

/// A run of query tokens and the places of its results.
struct Tile<'a, R> {
    pair: Pair,
    /// Index of the first query within its segment.
    first: usize,
    out: &'a mut [R],
    lse: &'a mut [R],
}

impl Pair {
    /// Queries from number `first_query` on and keys from `first_key` on.
    pub(super) fn block<'a, R>(
        &self,
        head: usize,
        (first_query, q): (usize, &'a [R]),
        (first_key, k): (usize, Mat<'a, R>),
        (rows, keys): (usize, usize),
    ) -> Block<'a, R> {
        let lags = Lags::new(self.query_position(first_query), rows, self.key_position(first_key), keys);
        Block { head, lags, causal: self.causal, q, k }
    }
}

impl<R: FastMath> SoftmaxAttention<R> {
    /// Writes the outputs and, for the backward, each row's log-sum-exp.
    ///
    /// # Shapes
    /// out `[Nq, H, V]`, lse `[Nq, H]`.
    ///
    /// # Cost
    /// `2 (K + V)` FLOPs per visible pair and head, and what the bias adds; memory for one tile per thread.
    ///
    /// # Numerics
    /// Padding may hold anything, NaN included. A NaN at a key that only later queries see reaches the earlier
    /// queries of the same tile through `0 · NaN`.
    ///
    /// # Errors
    /// If shapes or segments do not fit.
    pub fn forward(
        &self,
        out: &mut [R],
        lse: &mut [R],
        inputs: Inputs<'_, R>,
        mask: Mask<'_>,
    ) -> Result<(), AttentionError> {
        let pairs = self.check(inputs, mask)?;
        let tokens = self.tokens(inputs).0;
        self.check_len("out", out.len(), tokens, self.value_dim)?;
        self.check_len("lse", lse.len(), tokens, 1)?;
        self.tiles(out, lse, &pairs).into_par_iter().for_each(|tile| self.forward_tile(tile, inputs));
        Ok(())
    }

    /// Cuts the outputs into tiles and clears what no segment covers.
    fn tiles<'a>(&self, mut out: &'a mut [R], mut lse: &'a mut [R], pairs: &[Pair]) -> Vec<Tile<'a, R>> {
        let mut tiles = Vec::new();
        let mut position = 0;
        for &pair in pairs {
            self.take(&mut out, &mut lse, pair.queries.start - position).clear();
            for first in (0..pair.queries.len).step_by(QUERIES) {
                let (out, lse) = self.take(&mut out, &mut lse, QUERIES.min(pair.queries.len - first)).0;
                tiles.push(Tile { pair, first, out, lse });
            }
            position = pair.queries.start + pair.queries.len;
        }
        Rows((out, lse)).clear();
        tiles
    }

    /// Splits `tokens` tokens off the front of both slices.
    fn take<'a>(&self, out: &mut &'a mut [R], lse: &mut &'a mut [R], tokens: usize) -> Rows<'a, R> {
        let (taken_out, rest_out) = std::mem::take(out).split_at_mut(tokens * self.heads * self.value_dim);
        let (taken_lse, rest_lse) = std::mem::take(lse).split_at_mut(tokens * self.heads);
        (*out, *lse) = (rest_out, rest_lse);
        Rows((taken_out, taken_lse))
    }

    fn forward_tile(&self, tile: Tile<'_, R>, inputs: Inputs<'_, R>) {
        let rows = tile.lse.len() / self.heads;
        let mut online = Online::new(rows, self.value_dim);
        let mut queries = vec![R::ZERO; rows * self.key_dim];
        for head in 0..self.heads {
            let first = tile.pair.queries.start + tile.first;
            self.gather(&mut queries, inputs.q, first, head, self.key_dim, R::from_f64(self.scale));
            online.reset();
            let limit = tile.pair.visible(tile.first + rows - 1);
            for key in (0..limit).step_by(KEYS) {
                let keys = KEYS.min(limit - key);
                let start = tile.pair.keys.start + key;
                let k = self.rows_of(inputs.k, start, keys, head, self.key_dim);
                let v = self.rows_of(inputs.v, start, keys, head, self.value_dim);
                let visible = |r: usize| tile.pair.visible(tile.first + r).saturating_sub(key).min(keys);
                let block = tile.pair.block(head, (tile.first, &queries), (key, k), (rows, keys));
                self.logits(&mut online.scores[..rows * keys], block, inputs.params);
                online.absorb(v, keys, visible);
            }
            for r in 0..rows {
                let out = &mut tile.out[(r * self.heads + head) * self.value_dim..][..self.value_dim];
                tile.lse[r * self.heads + head] = online.finish_row(r, out);
            }
        }
    }

    /// Rows `start..start + count` of one head, in place.
    fn rows_of<'a>(&self, x: &'a [R], start: usize, count: usize, head: usize, width: usize) -> Mat<'a, R> {
        let begin = ((start * self.heads + head) * width).min(x.len());
        Mat::strided(&x[begin..], count, width, self.heads * width)
    }

    /// Copies one head's rows from token `start` on, times `scale`, until `out` is full.
    pub(super) fn gather(&self, out: &mut [R], x: &[R], start: usize, head: usize, width: usize, scale: R) {
        for (r, row) in out.chunks_exact_mut(width.max(1)).enumerate() {
            let x = &x[((start + r) * self.heads + head) * width..][..width];
            row.iter_mut().zip(x).for_each(|(o, &x)| *o = x * scale);
        }
    }
}

/// Outputs and log-sum-exps of the same tokens.
struct Rows<'a, R>((&'a mut [R], &'a mut [R]));

impl<R: Real> Rows<'_, R> {
    fn clear(self) {
        self.0.0.fill(R::ZERO);
        self.0.1.fill(R::from_f64(NOTHING_VISIBLE));
    }
}

/// The running softmax of one tile of queries.
struct Online<R> {
    value_dim: usize,
    scores: Vec<R>,
    /// `Σ_j e^(s_j − max) v_j`.
    sum: Vec<R>,
    max: Vec<R>,
    /// `Σ_j e^(s_j − max)`.
    total: Vec<R>,
}

impl<R: FastMath> Online<R> {
    fn new(rows: usize, value_dim: usize) -> Self {
        Self {
            value_dim,
            scores: vec![R::ZERO; rows * KEYS],
            sum: vec![R::ZERO; rows * value_dim],
            max: vec![R::ZERO; rows],
            total: vec![R::ZERO; rows],
        }
    }

    fn reset(&mut self) {
        self.sum.fill(R::ZERO);
        self.max.fill(R::NEG_INFINITY);
        self.total.fill(R::ZERO);
    }

    /// Adds a tile of keys, whose scores are there and of which row `r` sees the first `visible(r)`.
    fn absorb(&mut self, v: Mat<'_, R>, keys: usize, visible: impl Fn(usize) -> usize) {
        let rows = self.max.len();
        dispatch(
            #[inline(always)]
            || {
                for (r, scores) in self.scores.chunks_exact_mut(keys).take(rows).enumerate() {
                    let (seen, hidden) = scores.split_at_mut(visible(r));
                    hidden.fill(R::ZERO);
                    if seen.is_empty() {
                        continue;
                    }
                    let top = max(seen);
                    let top = if top > self.max[r] { top } else { self.max[r] };
                    let total = map_sum(
                        seen,
                        #[inline(always)]
                        |s| (s - top).fast_exp(),
                    );
                    let shrink = (self.max[r] - top).fast_exp();
                    self.total[r] = self.total[r] * shrink + total;
                    self.max[r] = top;
                    if shrink != R::ONE {
                        let sum = &mut self.sum[r * self.value_dim..][..self.value_dim];
                        sum.iter_mut().for_each(|o| *o *= shrink);
                    }
                }
            },
        );
        matmul(&mut self.sum, Into::Accumulate, Mat::new(&self.scores, rows, keys), v);
    }

    /// Writes row `r` of the output and returns its log-sum-exp.
    fn finish_row(&self, r: usize, out: &mut [R]) -> R {
        if self.max[r] == R::NEG_INFINITY && self.total[r] == R::ZERO {
            out.fill(R::ZERO);
            return R::from_f64(NOTHING_VISIBLE);
        }
        let inverse = R::ONE / self.total[r];
        let sum = &self.sum[r * self.value_dim..][..self.value_dim];
        out.iter_mut().zip(sum).for_each(|(o, &s)| *o = s * inverse);
        self.max[r] + self.total[r].ln()
    }
}
