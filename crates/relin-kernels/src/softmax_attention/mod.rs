//! Exact softmax attention over segments, `O(T²)`: what users compare linear attention with.
//!
//! `out_i = Σ_j softmax_j(s_ij) v_j` over the keys `j` that query `i` may see, where with the lag `Δ = t_j − s_i` of their positions
//!
//! ```text
//! s_ij = scale · Σ_c λ_c^|Δ| q_ic k_jc + b(scale · q_i, Δ)
//! ```
//!
//! λ is an encoding's decay and b a bias; both are optional.

mod backward;
mod cost;
mod logits;
pub mod naive;
mod per_feature;
mod tiled;

#[cfg(test)]
mod tests;

pub use backward::Saved;

use std::sync::Arc;

use crate::encoding::bias::Bias;
use crate::encoding::{Decay, Encoding, Parameter};
use crate::real::Real;
use crate::segments::{Mask, Segment, SegmentError, validate};

/// Sizes and scale of an attention, and what it adds to products of queries and keys.
///
/// # Shapes
/// q `[Nq, H, K]`, k `[Nk, H, K]`, v `[Nk, H, V]`, out `[Nq, H, V]`.
#[derive(Clone, Debug)]
pub struct SoftmaxAttention<R: Real> {
    /// H.
    pub heads: usize,
    /// K.
    pub key_dim: usize,
    /// V.
    pub value_dim: usize,
    /// Multiplies the scores, usually `1/√K`.
    pub scale: f64,
    /// One for each head, or none at all.
    decays: Vec<Decay>,
    bias: Option<Arc<dyn Bias<R>>>,
    /// Number of the bias's parameters.
    params: usize,
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
    /// Every head has its own decay.
    #[error("{found} decays for {heads} heads")]
    Decays {
        /// Decays given.
        found: usize,
        /// Heads.
        heads: usize,
    },
    /// Every feature has its own rate.
    #[error("head {head} has {found} rates of decay for {key_dim} features")]
    Rates {
        /// Which head.
        head: usize,
        /// Rates given.
        found: usize,
        /// Features.
        key_dim: usize,
    },
    /// The bias is learned, and its parameters are given apart.
    #[error("the bias has {expected} parameters, but {found} are given")]
    Parameters {
        /// Parameters of the bias; 0 without one.
        expected: usize,
        /// Parameters given.
        found: usize,
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

/// The inputs.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, R> {
    /// Queries `[Nq, H, K]`.
    pub q: &'a [R],
    /// Keys `[Nk, H, K]`.
    pub k: &'a [R],
    /// Values `[Nk, H, V]`.
    pub v: &'a [R],
    /// The bias's learned parameters, flat; empty without one.
    pub params: &'a [R],
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
    /// Gradient of the bias's parameters, flat.
    pub d_params: &'a mut [R],
}

/// A query segment and the key segment it looks at.
#[derive(Clone, Copy, Debug)]
struct Pair {
    queries: Segment,
    keys: Segment,
    causal: bool,
}

impl Pair {
    /// Position of query number `i`.
    fn query_position(&self, i: usize) -> i64 {
        self.queries.offset.saturating_add(i as i64)
    }

    /// Position of key number `j`.
    fn key_position(&self, j: usize) -> i64 {
        self.keys.offset.saturating_add(j as i64)
    }

    /// How many keys, counted from the segment's first, query number `i` of its segment sees; grows with `i`.
    fn visible(&self, i: usize) -> usize {
        if !self.causal {
            return self.keys.len;
        }
        let seen = self.queries.offset.saturating_add(i as i64 + 1).saturating_sub(self.keys.offset);
        usize::try_from(seen).unwrap_or(0).min(self.keys.len)
    }
}

impl<R: Real> SoftmaxAttention<R> {
    /// Without decay and without bias.
    pub const fn new(heads: usize, key_dim: usize, value_dim: usize, scale: f64) -> Self {
        Self { heads, key_dim, value_dim, scale, decays: Vec::new(), bias: None, params: 0 }
    }

    /// For queries and keys that an encoding has made: with its width, its scale and its decays.
    pub fn encoded(encoding: &dyn Encoding<R>, heads: usize, value_dim: usize) -> Self {
        let decays = (0..heads).map(|head| encoding.decay(head)).collect();
        Self::new(heads, encoding.encoded_dim(), value_dim, encoding.logit_scale()).with_decays(decays)
    }

    /// With the decay of each head.
    pub fn with_decays(self, decays: Vec<Decay>) -> Self {
        Self { decays, ..self }
    }

    /// With a bias, which must have been built for as many heads of width K.
    pub fn with_bias(self, bias: Arc<dyn Bias<R>>) -> Self {
        let params = bias.parameters().iter().map(Parameter::len).sum();
        Self { bias: Some(bias), params, ..self }
    }

    fn decay(&self, head: usize) -> &Decay {
        self.decays.get(head).unwrap_or(&Decay::None)
    }

    /// The pairs of segments, after checking that everything fits; `tokens_q` and `tokens_k` come from q and k.
    fn check(&self, inputs: Inputs<'_, R>, mask: Mask<'_>) -> Result<Vec<Pair>, AttentionError> {
        let (queries, keys, causal) = (mask.queries(), mask.keys(), mask.is_causal());
        let (query_tokens, key_tokens) = self.tokens(inputs);
        self.check_len("q", inputs.q.len(), query_tokens, self.key_dim)?;
        self.check_len("k", inputs.k.len(), key_tokens, self.key_dim)?;
        self.check_len("v", inputs.v.len(), key_tokens, self.value_dim)?;
        self.check_decays()?;
        if inputs.params.len() != self.params {
            let (expected, found) = (self.params, inputs.params.len());
            return Err(AttentionError::Parameters { expected, found });
        }
        validate(queries, query_tokens).map_err(AttentionError::Queries)?;
        validate(keys, key_tokens).map_err(AttentionError::Keys)?;
        if queries.len() != keys.len() {
            return Err(AttentionError::Unpaired { queries: queries.len(), keys: keys.len() });
        }
        Ok(queries.iter().zip(keys).map(|(&queries, &keys)| Pair { queries, keys, causal }).collect())
    }

    /// One decay a head, with one λ a feature, or no decay at all.
    fn check_decays(&self) -> Result<(), AttentionError> {
        let (heads, key_dim, found) = (self.heads, self.key_dim, self.decays.len());
        if found != 0 && found != heads {
            return Err(AttentionError::Decays { found, heads });
        }
        for (head, decay) in self.decays.iter().enumerate() {
            if let Decay::PerFeature(lambdas) = decay
                && lambdas.len() != key_dim
            {
                return Err(AttentionError::Rates { head, found: lambdas.len(), key_dim });
            }
        }
        Ok(())
    }

    /// Query and key tokens.
    fn tokens(&self, inputs: Inputs<'_, R>) -> (usize, usize) {
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
