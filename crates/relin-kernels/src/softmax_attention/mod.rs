//! Exact softmax attention over segments, `O(T²)`: what users compare linear attention with.
//!
//! `out_i = Σ_j softmax_j(scale · q_i·k_j) v_j` over the keys `j` that query `i` may see.

mod backward;
mod cost;
pub mod naive;
mod tiled;

#[cfg(test)]
mod tests;

pub use backward::Saved;

use crate::segments::{Mask, Segment, SegmentError, validate};

/// Sizes and scale of an attention.
///
/// # Shapes
/// q `[Nq, H, K]`, k `[Nk, H, K]`, v `[Nk, H, V]`, out `[Nq, H, V]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftmaxAttention {
    /// H.
    pub heads: usize,
    /// K.
    pub key_dim: usize,
    /// V.
    pub value_dim: usize,
    /// Multiplies the scores, usually `1/√K`.
    pub scale: f64,
}

/// Why an attention is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttentionError {
    /// The query segments do not fit the query tokens.
    #[error("query segments: {0}")]
    Queries(#[source] SegmentError),
    /// The key segments do not fit the key tokens.
    #[error("key segments: {0}")]
    Keys(#[source] SegmentError),
    /// Segments are matched by their index.
    #[error("{queries} query segments, but {keys} key segments")]
    Unpaired {
        /// Query segments.
        queries: usize,
        /// Key segments.
        keys: usize,
    },
    /// A slice has not the size that its tokens, heads and widths give.
    #[error("{name} has {found} elements; {tokens} tokens, {heads} heads and width {width} make {}", tokens * heads * width)]
    Shape {
        /// Which operand.
        name: &'static str,
        /// Its length.
        found: usize,
        /// Tokens it should have.
        tokens: usize,
        /// Heads it should have.
        heads: usize,
        /// Width of a head in it.
        width: usize,
    },
}

/// The three inputs.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, R> {
    /// Queries `[Nq, H, K]`.
    pub q: &'a [R],
    /// Keys `[Nk, H, K]`.
    pub k: &'a [R],
    /// Values `[Nk, H, V]`.
    pub v: &'a [R],
}

/// Their gradients; all are overwritten.
#[derive(Debug)]
pub struct Gradients<'a, R> {
    /// Gradient of the queries `[Nq, H, K]`.
    pub dq: &'a mut [R],
    /// Gradient of the keys `[Nk, H, K]`.
    pub dk: &'a mut [R],
    /// Gradient of the values `[Nk, H, V]`.
    pub dv: &'a mut [R],
}

/// A query segment and the key segment it looks at.
#[derive(Clone, Copy, Debug)]
struct Pair {
    queries: Segment,
    keys: Segment,
    causal: bool,
}

impl Pair {
    /// How many keys, counted from the segment's first, query number `i` of its segment sees; grows with `i`.
    fn visible(&self, i: usize) -> usize {
        if !self.causal {
            return self.keys.len;
        }
        let seen = self.queries.offset.saturating_add(i as i64 + 1).saturating_sub(self.keys.offset);
        usize::try_from(seen).unwrap_or(0).min(self.keys.len)
    }
}

impl SoftmaxAttention {
    /// The pairs of segments, after checking that everything fits; `tokens_q` and `tokens_k` come from q and k.
    fn check<R: Copy>(&self, inputs: Inputs<'_, R>, mask: Mask<'_>) -> Result<Vec<Pair>, AttentionError> {
        let (queries, keys, causal) = (mask.queries(), mask.keys(), mask.is_causal());
        let (query_tokens, key_tokens) = self.tokens(inputs);
        self.check_len("q", inputs.q.len(), query_tokens, self.key_dim)?;
        self.check_len("k", inputs.k.len(), key_tokens, self.key_dim)?;
        self.check_len("v", inputs.v.len(), key_tokens, self.value_dim)?;
        validate(queries, query_tokens).map_err(AttentionError::Queries)?;
        validate(keys, key_tokens).map_err(AttentionError::Keys)?;
        if queries.len() != keys.len() {
            return Err(AttentionError::Unpaired { queries: queries.len(), keys: keys.len() });
        }
        Ok(queries.iter().zip(keys).map(|(&queries, &keys)| Pair { queries, keys, causal }).collect())
    }

    /// Query and key tokens.
    fn tokens<R: Copy>(&self, inputs: Inputs<'_, R>) -> (usize, usize) {
        let width = (self.heads * self.key_dim).max(1);
        (inputs.q.len() / width, inputs.k.len() / width)
    }

    fn check_len(
        &self,
        name: &'static str,
        found: usize,
        tokens: usize,
        width: usize,
    ) -> Result<(), AttentionError> {
        let heads = self.heads;
        if found == tokens * heads * width {
            return Ok(());
        }
        Err(AttentionError::Shape { name, found, tokens, heads, width })
    }
}
