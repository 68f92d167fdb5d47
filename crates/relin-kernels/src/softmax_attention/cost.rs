//! What the operator computes: the one place where its FLOPs are counted, matrix products alone.

use super::{Pair, SoftmaxAttention};
use crate::encoding::bias::Lags;
use crate::real::Real;
use crate::segments::Mask;

impl<R: Real> SoftmaxAttention<R> {
    /// FLOPs of [`forward`](Self::forward): `2 (K + V)` for each visible pair and head; `2K` for each vector of the bias that
    /// a query meets.
    pub fn forward_flops(&self, mask: Mask<'_>) -> u64 {
        let counts = self.counts(mask);
        2 * self.heads as u64
            * ((self.key_dim + self.value_dim) as u64 * counts.pairs + self.key_dim as u64 * counts.vectors)
    }

    /// FLOPs of [`backward`](Self::backward): `2 (3K + 2V)` for each visible pair and head; `6K` for each vector of the bias
    /// that a query meets.
    pub fn backward_flops(&self, mask: Mask<'_>) -> u64 {
        let counts = self.counts(mask);
        2 * self.heads as u64
            * ((3 * self.key_dim + 2 * self.value_dim) as u64 * counts.pairs
                + 3 * self.key_dim as u64 * counts.vectors)
    }

    fn counts(&self, mask: Mask<'_>) -> Counts {
        let mut counts = Counts { pairs: 0, vectors: 0 };
        for (&queries, &keys) in mask.queries().iter().zip(mask.keys()) {
            let pair = Pair { queries, keys, causal: mask.is_causal() };
            for i in 0..queries.len {
                let visible = pair.visible(i);
                counts.pairs += visible as u64;
                if let Some(bias) = &self.bias {
                    let lags = Lags::new(pair.query_position(i), 1, keys.offset, visible);
                    counts.vectors += bias.products(lags.ascending()) as u64;
                }
            }
        }
        counts
    }
}

/// Of one head.
struct Counts {
    /// Keys that a query sees, over all queries.
    pairs: u64,
    /// Vectors of the bias that a query is multiplied with, over all queries.
    vectors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Place;
    use crate::encoding::bias::{BiasConfig, ShawConfig};
    use crate::segments::dense;

    #[test]
    fn pairs_are_counted_as_the_mask_shows_them() {
        let attention = SoftmaxAttention::<f64>::new(2, 3, 5, 1.0);
        let segments = dense(2, 4, 9);
        assert_eq!(attention.forward_flops(Mask::causal(&segments)), 2 * 8 * 2 * 2 * 10);
        assert_eq!(attention.backward_flops(Mask::full(&segments)), 2 * 19 * 2 * 2 * 16);
        // Lags 0, −1 and "farther": 1, 2, 3 and 3 vectors for the queries of a sequence.
        let shaw = BiasConfig::Shaw(ShawConfig { max_distance: 2, seed: 0 });
        let attention = attention.with_bias(shaw.build(Place { key_dim: 3, heads: 2, layer: 0 }).unwrap());
        assert_eq!(attention.forward_flops(Mask::causal(&segments)), 2 * 2 * 2 * (8 * 10 + 3 * 9));
        assert_eq!(attention.backward_flops(Mask::causal(&segments)), 2 * 2 * 2 * (19 * 10 + 9 * 9));
    }
}
