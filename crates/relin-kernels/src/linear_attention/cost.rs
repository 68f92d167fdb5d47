//! What the operator computes: the one place where its FLOPs are counted.
//!
//! Counted are the matrix products of the algorithm, a multiplication and an addition as two. Causal products within
//! a chunk count their lower triangle alone, the diagonal included, `n(n+1)/2` scores for `n` tokens, whether or
//! not an implementation computes the other half as well. Feature map, encoding and normaliser are not counted, so
//! that a rate in FLOPs a second says what everything around the products costs.

use super::LinearAttention;
use crate::fast_math::FastMath;
use crate::segments::{Mask, Segment};

impl<R: FastMath> LinearAttention<R> {
    /// FLOPs of [`forward`](Self::forward).
    ///
    /// # Cost
    /// For each head and chunk of `n` tokens:
    /// - causal: `n(n+1)·(K' + V)` for the scores and their use, `4·n·K'·V` for reading and advancing the state
    /// - full: `2·n·K'·V` for each chunk of queries and of keys
    /// - full with a decay: the causal form, and `n(n−1)·(K' + V) + 2·n·K'·V` for what lies ahead, `2·n·K'·V` more for
    ///   what a chunk leaves for the one before it, if there is one
    pub fn forward_flops(&self, mask: Mask<'_>) -> u64 {
        let (inner, state) = (self.encoded_dim() + self.value_dim, self.encoded_dim() * self.value_dim);
        let heads = self.heads as u64;
        match mask {
            Mask::Causal { queries, .. } => {
                let chunk = |n: u64, _: At| n * (n + 1) * inner as u64 + 4 * n * state as u64;
                heads * self.sum_over_chunks(queries, chunk)
            }
            Mask::Full { queries, .. } if self.decays() => {
                let states = |at: At| if at.first { 6 } else { 8 };
                let chunk = |n: u64, at: At| 2 * n * n * inner as u64 + states(at) * n * state as u64;
                heads * self.sum_over_chunks(queries, chunk)
            }
            Mask::Full { queries, keys } => heads * 2 * (tokens(queries) + tokens(keys)) * state as u64,
        }
    }

    /// FLOPs of [`backward`](Self::backward), with what it computes again.
    ///
    /// # Cost
    /// For each head and chunk of `n` tokens:
    /// - causal: `n(n+1)·(3K' + 2V)` for the scores again, their gradient, and what both give to q, k and v;
    ///   `8·n·K'·V` for `dO S^T`, `V dS^T`, `K dS` and `Q^T dO`; `2·n·K'·V` for the state again, if another chunk
    ///   reads it
    /// - full: `4·n·K'·V` for each chunk of queries, `6·n·K'·V` for each chunk of keys
    /// - full with a decay: the causal form, and `n(n−1)·(3K' + 2V) + 6·n·K'·V` for what lies ahead, `2·n·K'·V` more for
    ///   what a chunk leaves for the one before it and as much for its gradient, if there is one
    pub fn backward_flops(&self, mask: Mask<'_>) -> u64 {
        let (k, v) = (self.encoded_dim() as u64, self.value_dim as u64);
        let heads = self.heads as u64;
        match mask {
            Mask::Causal { queries, .. } => {
                let chunk =
                    |n: u64, at: At| n * (n + 1) * (3 * k + 2 * v) + if at.last { 8 } else { 10 } * n * k * v;
                heads * self.sum_over_chunks(queries, chunk)
            }
            Mask::Full { queries, .. } if self.decays() => {
                let states = |at: At| 14 + if at.first { 0 } else { 2 } + if at.last { 0 } else { 4 };
                let chunk = |n: u64, at: At| 2 * n * n * (3 * k + 2 * v) + states(at) * n * k * v;
                heads * self.sum_over_chunks(queries, chunk)
            }
            Mask::Full { queries, keys } => heads * (4 * tokens(queries) + 6 * tokens(keys)) * k * v,
        }
    }

    /// FLOPs of [`recurrent::Recurrent::step`](super::recurrent::Recurrent::step), on average over C tokens.
    ///
    /// # Cost
    /// For each head `2·K'·V` to read the state, `(C+1)·(K' + V)` to read the waiting tokens, `2·K'·V` to fold a
    /// token into the state.
    pub fn step_flops(&self) -> f64 {
        let (k, v) = (self.encoded_dim(), self.value_dim);
        (self.heads * (4 * k * v + (self.chunk + 1) * (k + v))) as f64
    }

    /// Sums over the chunks of all segments a function of their length and of where they are.
    fn sum_over_chunks(&self, segments: &[Segment], cost: impl Fn(u64, At) -> u64) -> u64 {
        let of_segment = |segment: &Segment| {
            let (chunk, len) = (self.chunk as u64, segment.len as u64);
            if len <= chunk {
                return cost(len, At { first: true, last: true });
            }
            let whole = (len - 1) / chunk;
            cost(chunk, At { first: true, last: false })
                + (whole - 1) * cost(chunk, At { first: false, last: false })
                + cost(len - whole * chunk, At { first: false, last: true })
        };
        segments.iter().map(of_segment).sum()
    }
}

/// Where a chunk is in its segment.
#[derive(Clone, Copy)]
struct At {
    first: bool,
    last: bool,
}

fn tokens(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.len as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encoding::{Absent, DecayConfig, EncodingConfig, Place, Stage};
    use crate::feature_map::FeatureMap;
    use crate::linear_attention::Normalizer;
    use crate::segments::dense;

    const K: u64 = 6;
    const V: u64 = 5;
    const H: u64 = 3;

    fn attention() -> LinearAttention<f32> {
        LinearAttention {
            feature_map: FeatureMap::Elu1.bind(K as usize),
            encoding: Arc::new(Absent::new(K as usize)),
            stage: Stage::AfterFeatureMap,
            normalizer: Normalizer::Plain,
            eps: 1e-6,
            heads: H as usize,
            value_dim: V as usize,
            chunk: 4,
        }
    }

    /// Every product of one head, by its rows, inner size and columns; a triangle by its scores.
    fn counted(lengths: &[u64], backward: bool) -> u64 {
        let product = |rows: u64, inner: u64, columns: u64| 2 * rows * inner * columns;
        let triangle = |n: u64, inner: u64| 2 * (1..=n).sum::<u64>() * inner;
        let of_chunk = |(i, &n): (usize, &u64)| {
            if !backward {
                return triangle(n, K) + triangle(n, V) + product(n, K, V) + product(K, n, V);
            }
            let again = if i + 1 < lengths.len() { product(K, n, V) } else { 0 };
            let [d_q, d_k, d_v, d_s] =
                [product(n, V, K), product(n, V, K), product(n, K, V), product(K, n, V)];
            let triangles = [K, V, K, K, V].map(|inner| triangle(n, inner)).iter().sum::<u64>();
            triangles + d_q + d_k + d_v + d_s + again
        };
        lengths.iter().enumerate().map(of_chunk).sum()
    }

    #[test]
    fn counts_every_product_once() {
        let attention = attention();
        for (len, chunks) in [(1, vec![1]), (4, vec![4]), (5, vec![4, 1]), (11, vec![4, 4, 3])] {
            let segments = dense(2, len, 7);
            let causal = Mask::causal(&segments);
            assert_eq!(attention.forward_flops(causal), 2 * H * counted(&chunks, false), "{len}");
            assert_eq!(attention.backward_flops(causal), 2 * H * counted(&chunks, true), "{len}");
            let full = Mask::full(&segments);
            assert_eq!(attention.forward_flops(full), 2 * H * 4 * len as u64 * K * V);
            assert_eq!(attention.backward_flops(full), 2 * H * 10 * len as u64 * K * V);
        }
    }

    /// `later` tokens have a chunk before theirs, which reads what their keys leave; `earlier` ones have a chunk after theirs.
    #[test]
    fn a_decay_without_a_causal_mask_counts_both_sides() {
        let decay = EncodingConfig::Decay(DecayConfig::default());
        let place = Place { key_dim: K as usize, heads: H as usize, layer: 0 };
        let attention = LinearAttention { encoding: decay.build(place).unwrap(), ..attention() };
        for (len, squares, later, earlier) in [(4u64, 16, 0, 0), (5, 16 + 1, 1, 4), (11, 16 + 16 + 9, 7, 8)] {
            let segments = dense(2, len as usize, 7);
            let full = Mask::full(&segments);
            let forward = 2 * squares * (K + V) + (6 * len + 2 * later) * K * V;
            assert_eq!(attention.forward_flops(full), 2 * H * forward, "{len}");
            let backward = 2 * squares * (3 * K + 2 * V) + (14 * len + 2 * later + 4 * earlier) * K * V;
            assert_eq!(attention.backward_flops(full), 2 * H * backward, "{len}");
        }
    }

    #[test]
    fn nothing_costs_nothing() {
        let segments = dense(2, 0, 0);
        assert_eq!(attention().forward_flops(Mask::causal(&segments)), 0);
        assert_eq!(attention().backward_flops(Mask::causal(&segments)), 0);
    }
}
