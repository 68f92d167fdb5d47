//! Linear attention with a relative encoding: one operator in four forms.
//!
//! ```text
//! q̃_s = M^q_s φ(q_s),   k̃_t = M^k_t φ(k_t)
//! o_s = Σ_t (q̃_s · k̃_t) v_t / d_s        over t ≤ s (causal) or all t
//! d_s = max(Σ_t q̃_s · k̃_t, ε)            normaliser `encoded`
//!     = Σ_t φ(q_s) · φ(k_t) + ε           normaliser `plain`
//!     = 1                                 normaliser `none`
//! ```
//!
//! | form | where | cost per head | use |
//! |---|---|---|---|
//! | naive | [`naive`] | O(T²K²), f64 | the truth that every other form must equal |
//! | bidirectional | [`Mask::Full`] | 4·T·K'·V FLOPs | encoders, cross-attention |
//! | chunked | [`Mask::Causal`] | 4·T·K'·V + 2·T·C·(K' + V) FLOPs | training, prefill |
//! | recurrent | [`recurrent`] | 4·K'·V + C·(K' + V) FLOPs a token | generation |
//!
//! State is a value: what the keys and values so far amount to, `S = Σ k̃_t v_t^T` and `z = Σ` of the normaliser's
//! key features. Any form takes one and gives one, so a sequence may be split anywhere.
//!
//! # Reference
//! Katharopoulos et al. 2020 (arXiv 2006.16236), Eq. 4–12; normalisers: LRPE authors' code, before and after
//! January 2023.

mod bidirectional;
mod chunked;
mod cost;
mod head;
pub mod naive;
pub mod recurrent;

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encoding::{Encoder, Encoding};
use crate::fast_math::FastMath;
use crate::feature_map::FeatureMap;
use crate::segments::{Mask, Segment};
use head::Head;

/// What the weighted sum of values is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalizer {
    /// The sum of the encoded scores, clamped from below by ε. It can vanish: encoded scores may be negative.
    Encoded,
    /// The sum of the un-encoded scores, plus ε. Positive for non-negative feature maps.
    Plain,
    /// Nothing; normalise the output instead.
    None,
}

/// The operator: φ, the encoding, the normaliser, and the sizes.
#[derive(Clone, Debug)]
pub struct LinearAttention<R: FastMath> {
    /// φ.
    pub feature_map: FeatureMap,
    /// The encoding, from `K` to `K'`; it acts on the features.
    pub encoding: Arc<dyn Encoding<R>>,
    /// The denominator.
    pub normalizer: Normalizer,
    /// ε of the denominator.
    pub eps: f64,
    /// `H`.
    pub heads: usize,
    /// `V`.
    pub value_dim: usize,
    /// `C`, the tokens treated at once.
    pub chunk: usize,
}

/// What goes in.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, R> {
    /// `[N, H, K]`.
    pub q: &'a [R],
    /// `[N', H, K]`, with `N' = N` when causal.
    pub k: &'a [R],
    /// `[N', H, V]`.
    pub v: &'a [R],
    /// The encoding's learned parameters, flat.
    pub params: &'a [R],
    /// State before the first key of each segment; `None` is zero.
    pub initial: Option<&'a State<R>>,
}

/// What keys and values amount to, for each segment and head.
#[derive(Clone, Debug, PartialEq)]
pub struct State<R> {
    /// `S = Σ k̃_t v_t^T`, `[B, H, K', V]`.
    pub s: Vec<R>,
    /// `Σ` of the normaliser's key features, `[B, H, Z]`: `Z = K'` for `encoded`, `K` for `plain`, 0 for `none`.
    pub z: Vec<R>,
}

/// What comes out.
#[derive(Clone, Debug)]
pub struct Output<R> {
    /// `[N, H, V]`; 0 for tokens outside all segments.
    pub out: Vec<R>,
    /// State after the last key of each segment.
    pub state: State<R>,
}

/// Gradients of a scalar for everything that went in.
#[derive(Clone, Debug)]
pub struct Gradients<R> {
    /// `[N, H, K]`.
    pub q: Vec<R>,
    /// `[N', H, K]`.
    pub k: Vec<R>,
    /// `[N', H, V]`.
    pub v: Vec<R>,
    /// Flat, as the parameters.
    pub params: Vec<R>,
    /// For the initial state (also when it was zero).
    pub initial: State<R>,
}

impl<R: FastMath> LinearAttention<R> {
    /// `K`.
    pub fn key_dim(&self) -> usize {
        self.encoding.key_dim()
    }

    /// `K'`.
    pub fn encoded_dim(&self) -> usize {
        self.encoding.encoded_dim()
    }

    /// `Z`, the width of the normaliser's key features.
    pub fn normalizer_dim(&self) -> usize {
        match self.normalizer {
            Normalizer::Encoded => self.encoded_dim(),
            Normalizer::Plain => self.key_dim(),
            Normalizer::None => 0,
        }
    }

    /// A zero state for `batch` sequences.
    pub fn zero_state(&self, batch: usize) -> State<R> {
        State {
            s: vec![R::ZERO; batch * self.heads * self.encoded_dim() * self.value_dim],
            z: vec![R::ZERO; batch * self.heads * self.normalizer_dim()],
        }
    }

    /// Forward pass: chunked where causal, two sums where not.
    ///
    /// # Shapes
    /// See [`Inputs`] and [`Output`].
    ///
    /// # Cost
    /// See the table of the module; threads share the segments and heads.
    ///
    /// # Panics
    /// If a slice has not the length that the segments and sizes imply.
    pub fn forward(&self, mask: Mask<'_>, inputs: Inputs<'_, R>) -> Output<R> {
        self.check(mask, inputs);
        let encoder = self.encoding.bind(inputs.params);
        let parts = self.for_each_head(mask, inputs, &*encoder, |head| match mask {
            Mask::Causal { .. } => chunked::forward(head),
            Mask::Full { .. } => bidirectional::forward(head),
        });
        let mut output = Output {
            out: vec![R::ZERO; inputs.q.len() / self.key_dim() * self.value_dim],
            state: State { s: Vec::new(), z: Vec::new() },
        };
        let outs: Vec<&[R]> = parts.iter().map(|part| part.out.as_slice()).collect();
        scatter(&mut output.out, self.heads, self.value_dim, mask.queries(), &outs);
        for part in &parts {
            output.state.s.extend_from_slice(&part.s);
            output.state.z.extend_from_slice(&part.z);
        }
        output
    }

    /// Backward pass: gradients of `⟨d_out, out⟩ + ⟨d_state, state⟩`, given the forward's `out`.
    ///
    /// # Panics
    /// If a slice has not the length that the segments and sizes imply.
    pub fn backward(
        &self,
        mask: Mask<'_>,
        inputs: Inputs<'_, R>,
        out: &[R],
        d_out: &[R],
        d_state: Option<&State<R>>,
    ) -> Gradients<R> {
        self.check(mask, inputs);
        assert_eq!(out.len(), d_out.len(), "out and its gradient differ in length");
        assert_eq!(
            out.len() * self.key_dim(),
            inputs.q.len() * self.value_dim,
            "out has not [N, H, V] elements"
        );
        let encoder = self.encoding.bind(inputs.params);
        let cotangent = head::Cotangent { out, d_out, d_state };
        let parts = self.for_each_head(mask, inputs, &*encoder, |head| match mask {
            Mask::Causal { .. } => chunked::backward(head, cotangent),
            Mask::Full { .. } => bidirectional::backward(head, cotangent),
        });
        let gather =
            |len: usize, width: usize, segments: &[Segment], part: fn(&head::Backward<R>) -> &[R]| {
                let mut full = vec![R::ZERO; len];
                let parts: Vec<&[R]> = parts.iter().map(part).collect();
                scatter(&mut full, self.heads, width, segments, &parts);
                full
            };
        let mut params = vec![0.0; inputs.params.len()];
        let mut initial = State { s: Vec::new(), z: Vec::new() };
        for part in &parts {
            params.iter_mut().zip(&part.d_params).for_each(|(sum, d)| *sum += d);
            initial.s.extend_from_slice(&part.d_s);
            initial.z.extend_from_slice(&part.d_z);
        }
        Gradients {
            q: gather(inputs.q.len(), self.key_dim(), mask.queries(), |part| &part.d_q),
            k: gather(inputs.k.len(), self.key_dim(), mask.keys(), |part| &part.d_k),
            v: gather(inputs.v.len(), self.value_dim, mask.keys(), |part| &part.d_v),
            params: params.into_iter().map(R::from_f64).collect(),
            initial,
        }
    }

    /// The divisor for a sum of scores, and whether the sum reaches it (a clamped one has no gradient).
    fn divisor(&self, sum: R) -> (R, bool) {
        let eps = R::from_f64(self.eps);
        match self.normalizer {
            Normalizer::Encoded if sum > eps => (sum, true),
            Normalizer::Encoded => (eps, false),
            Normalizer::Plain => (sum + eps, true),
            Normalizer::None => (R::ONE, false),
        }
    }

    /// Runs one task for each (segment, head), results in that order.
    fn for_each_head<T: Send>(
        &self,
        mask: Mask<'_>,
        inputs: Inputs<'_, R>,
        encoder: &dyn Encoder<R>,
        task: impl Fn(&Head<'_, R>) -> T + Sync,
    ) -> Vec<T> {
        let run = |at: usize| {
            let (row, head) = (at / self.heads, at % self.heads);
            let (queries, keys) = (mask.queries()[row], mask.keys()[row]);
            task(&Head { attention: self, encoder, inputs, row, head, queries, keys })
        };
        (0..mask.queries().len() * self.heads).into_par_iter().map(run).collect()
    }

    fn check(&self, mask: Mask<'_>, inputs: Inputs<'_, R>) {
        let (h, k, v) = (self.heads, self.key_dim(), self.value_dim);
        assert!(self.chunk > 0, "the chunk length is 0");
        assert_eq!(inputs.q.len() % (h * k), 0, "q has not [N, {h}, {k}] elements but {}", inputs.q.len());
        assert_eq!(inputs.k.len() % (h * k), 0, "k has not [N, {h}, {k}] elements but {}", inputs.k.len());
        assert_eq!(inputs.v.len() * k, inputs.k.len() * v, "v and k differ in their number of tokens");
        if let Err(error) = mask.validate(inputs.q.len() / (h * k), inputs.k.len() / (h * k)) {
            panic!("{error}");
        }
        assert!(
            !mask.is_causal() || mask.queries() == mask.keys(),
            "causal linear attention takes queries and keys from the same tokens; earlier keys come as a state"
        );
        if let Some(initial) = inputs.initial {
            let batch = mask.queries().len();
            assert_eq!(
                initial.s.len(),
                batch * h * self.encoded_dim() * v,
                "state S has not [B, H, K', V] elements"
            );
            assert_eq!(
                initial.z.len(),
                batch * h * self.normalizer_dim(),
                "state z has not [B, H, Z] elements"
            );
        }
    }
}

/// Writes each task's `[len, width]` rows to its segment and head of `[N, H, width]`.
fn scatter<R: FastMath>(full: &mut [R], heads: usize, width: usize, segments: &[Segment], parts: &[&[R]]) {
    let mut rest = full;
    let mut done = 0;
    for (segment, parts) in segments.iter().zip(parts.chunks(heads)) {
        let (_, tail) = rest.split_at_mut((segment.start - done) * heads * width);
        let (rows, tail) = tail.split_at_mut(segment.len * heads * width);
        rows.par_chunks_mut(heads * width).with_min_len(64).enumerate().for_each(|(i, row)| {
            for (row, part) in row.chunks_mut(width).zip(parts) {
                row.copy_from_slice(&part[i * width..][..width]);
            }
        });
        rest = tail;
        done = segment.start + segment.len;
    }
}
