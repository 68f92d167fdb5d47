//! What the operator computes: the one place where its FLOPs are counted, matrix products alone.

use super::{Pair, SoftmaxAttention};
use crate::segments::Mask;

impl SoftmaxAttention {
    /// FLOPs of [`forward`](Self::forward): `2 (K + V)` for each visible pair and head.
    pub fn forward_flops(&self, mask: Mask<'_>) -> u64 {
        2 * (self.key_dim + self.value_dim) as u64 * self.heads as u64 * visible_pairs(mask)
    }

    /// FLOPs of [`backward`](Self::backward): `2 (3K + 2V)` for each visible pair and head.
    pub fn backward_flops(&self, mask: Mask<'_>) -> u64 {
        2 * (3 * self.key_dim + 2 * self.value_dim) as u64 * self.heads as u64 * visible_pairs(mask)
    }
}

fn visible_pairs(mask: Mask<'_>) -> u64 {
    let pairs = mask.queries().iter().zip(mask.keys());
    let of_pair = |(&queries, &keys)| {
        let pair = Pair { queries, keys, causal: mask.is_causal() };
        (0..pair.queries.len).map(|i| pair.visible(i) as u64).sum::<u64>()
    };
    pairs.map(of_pair).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::dense;

    #[test]
    fn pairs_are_counted_as_the_mask_shows_them() {
        let attention = SoftmaxAttention { heads: 2, key_dim: 3, value_dim: 5, scale: 1.0 };
        let segments = dense(2, 4, 9);
        assert_eq!(attention.forward_flops(Mask::causal(&segments)), 2 * 8 * 2 * 2 * 10);
        assert_eq!(attention.backward_flops(Mask::full(&segments)), 2 * 19 * 2 * 2 * 16);
    }
}
