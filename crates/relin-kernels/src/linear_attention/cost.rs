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
    pub fn forward_flops(&self, mask: Mask<'_>) -> u64 {
        let (inner, state) = (self.encoded_dim() + self.value_dim, self.encoded_dim() * self.value_dim);
        let heads = self.heads as u64;
        match mask {
            Mask::Causal { queries, .. } => {
                let chunk = |n: u64, _: bool| n * (n + 1) * inner as u64 + 4 * n * state as u64;
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
    pub fn backward_flops(&self, mask: Mask<'_>) -> u64 {
        let (k, v) = (self.encoded_dim() as u64, self.value_dim as u64);
        let heads = self.heads as u64;
        match mask {
            Mask::Causal { queries, .. } => {
                let chunk = |n: u64, last: bool| {
                    n * (n + 1) * (3 * k + 2 * v) + if last { 8 } else { 10 } * n * k * v
                };
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

    /// Sums over the chunks of all segments a function of their length and of whether they are their segment's last.
    fn sum_over_chunks(&self, segments: &[Segment], cost: impl Fn(u64, bool) -> u64) -> u64 {
        let of_segment = |segment: &Segment| {
            let (chunk, len) = (self.chunk as u64, segment.len as u64);
            if len == 0 {
                return 0;
            }
            let whole = (len - 1) / chunk;
            whole * cost(chunk, false) + cost(len - whole * chunk, true)
        };
        segments.iter().map(of_segment).sum()
    }
}

fn tokens(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.len as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encoding::Absent;
    use crate::feature_map::FeatureMap;
    use crate::linear_attention::Normalizer;
    use crate::segments::dense;

    const K: u64 = 6;
    const V: u64 = 5;
    const H: u64 = 3;

    fn attention() -> LinearAttention<f32> {
        LinearAttention {
            feature_map: FeatureMap::Elu1,
            encoding: Arc::new(Absent::new(K as usize)),
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

    #[test]
    fn nothing_costs_nothing() {
        let segments = dense(2, 0, 0);
        assert_eq!(attention().forward_flops(Mask::causal(&segments)), 0);
        assert_eq!(attention().backward_flops(Mask::causal(&segments)), 0);
    }
}
