//! Linear attention with a relative encoding: one operator in five forms.
//!
//! ```text
//! q̃_s = M^q_s φ(q_s),   k̃_t = M^k_t φ(k_t)
//! o_s = Σ_t (q̃_s · k̃_t) v_t / d_s        over t ≤ s (causal) or all t
//! d_s = max(Σ_t q̃_s · k̃_t, ε)            normaliser `encoded`
//!     = Σ_t φ(q_s) · φ(k_t) + ε           normaliser `plain`
//!     = 1                                 normaliser `none`
//! ```
//!
//! An encoding may act before φ instead, `q̃_s = φ(M^q_s q_s)`; there is then no un-encoded feature, and `plain` sums `q̃_s · k̃_t`.
//! A decay λ of the encoding multiplies every score, the plain ones too, by `λ^|s − t|`; queries and keys must be the same
//! tokens.
//!
//! | form | where | cost per head | use |
//! |---|---|---|---|
//! | naive | [`naive`] | O(T²K²), f64 | the truth that every other form must equal |
//! | bidirectional | [`Mask::Full`] | 4·T·K'·V FLOPs | encoders, cross-attention |
//! | two-sided | [`Mask::Full`] with a decay | 8·T·K'·V + 4·T·C·(K' + V) FLOPs | encoders |
//! | chunked | [`Mask::Causal`] | 4·T·K'·V + 2·T·C·(K' + V) FLOPs | training, prefill |
//! | recurrent | [`recurrent`] | 4·K'·V + C·(K' + V) FLOPs a token | generation |
//!
//! State is a value: what the keys and values so far amount to, `S = Σ k̃_t v_t^T` and `z = Σ` of the normaliser's
//! key features. With a decay both are as of the last key. Any form takes one and gives one, so a sequence may be split
//! anywhere.
//!
//! # Reference
//! Katharopoulos et al. 2020 (arXiv 2006.16236), Eq. 4–12; normalisers: LRPE authors' code, before and after
//! January 2023.

mod ahead;
mod bidirectional;
mod border;
mod call;
mod chunked;
mod cost;
mod denominator;
mod fade;
mod head;
mod maps;
pub mod naive;
mod pieces;
pub mod recurrent;
mod two_sided;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::encoding::{Decay, Encoding, Stage};
use crate::fast_math::FastMath;
use crate::feature_map::BoundFeatureMap;
use crate::segments::Mask;
use ahead::EncodedAhead;
use call::{Call, Cotangent};
use fade::Fade;

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
    pub feature_map: BoundFeatureMap<R>,
    /// The encoding.
    pub encoding: Arc<dyn Encoding<R>>,
    /// Whether it acts on q and k or on their features; [`Encoding::stage`] says where it belongs.
    pub stage: Stage,
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
#[derive(Clone, Debug, Default, PartialEq)]
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
#[derive(Clone, Debug, Default)]
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
    /// `K`, the width of q and k.
    pub fn key_dim(&self) -> usize {
        match self.stage {
            Stage::AfterFeatureMap => self.feature_map.width(),
            Stage::BeforeFeatureMap => self.encoding.key_dim(),
        }
    }

    /// `K'`, the width of the rows whose inner products are the scores.
    pub fn encoded_dim(&self) -> usize {
        match self.stage {
            Stage::AfterFeatureMap => self.encoding.encoded_dim(),
            Stage::BeforeFeatureMap => self.feature_map.feature_dim(),
        }
    }

    /// `L`, the width between φ and the encoding.
    fn middle_dim(&self) -> usize {
        match self.stage {
            Stage::AfterFeatureMap => self.encoding.key_dim(),
            Stage::BeforeFeatureMap => self.encoding.encoded_dim(),
        }
    }

    /// Whether the normaliser sums features that the encoding has not touched. Where it acts before φ there are none.
    fn sums_plain_features(&self) -> bool {
        self.normalizer == Normalizer::Plain && self.stage == Stage::AfterFeatureMap
    }

    /// `Z`, the width of the normaliser's key features.
    pub fn normalizer_dim(&self) -> usize {
        match self.normalizer {
            Normalizer::None => 0,
            Normalizer::Plain if self.sums_plain_features() => self.middle_dim(),
            _ => self.encoded_dim(),
        }
    }

    /// Whether the scores of some head fall with the distance.
    pub fn decays(&self) -> bool {
        (0..self.heads).any(|head| self.encoding.decay(head) != Decay::None)
    }

    /// A zero state for `batch` sequences.
    pub fn zero_state(&self, batch: usize) -> State<R> {
        State {
            s: vec![R::ZERO; batch * self.heads * self.encoded_dim() * self.value_dim],
            z: vec![R::ZERO; batch * self.heads * self.normalizer_dim()],
        }
    }

    /// Forward pass: chunked where causal, two sums where not; chunked from both ends if there is a decay.
    ///
    /// # Shapes
    /// See [`Inputs`] and [`Output`].
    ///
    /// # Cost
    /// See the table of the module. Beyond its result it takes some tiles of `C × C`, `C × K'`, `C × V` and `K' × V` a
    /// thread, whatever the number of tokens; two-sided also the states between the chunks of one head, `T·K'·V/C` numbers a
    /// thread; and the encoded queries and keys of all tokens if the encoding has a [`halo`](Encoding::halo), or if there are
    /// several sequences and [they share their positions](Encoding::shares_positions).
    ///
    /// # Panics
    /// If a slice has not the length that the segments and sizes imply.
    pub fn forward(&self, mask: Mask<'_>, inputs: Inputs<'_, R>) -> Output<R> {
        let mut out = vec![R::ZERO; inputs.q.len() / self.key_dim() * self.value_dim];
        let state = self.forward_into(mask, inputs, &mut out);
        Output { out, state }
    }

    /// [`forward`](Self::forward) that overwrites `out`, `[N, H, V]`, and returns the state.
    ///
    /// # Panics
    /// If a slice has not the length that the segments and sizes imply.
    pub fn forward_into(&self, mask: Mask<'_>, inputs: Inputs<'_, R>, out: &mut [R]) -> State<R> {
        self.check(mask, inputs);
        assert_eq!(
            out.len() * self.key_dim(),
            inputs.q.len() * self.value_dim,
            "out has not [N, H, V] elements"
        );
        if let Some(ahead) = EncodedAhead::new(self, mask, inputs) {
            return ahead.attention.forward_into(mask, ahead.inputs(inputs), out);
        }
        let (attention, encoder) = (self.with_fitting_chunk(), self.encoding.bind(inputs.params));
        let fades = Fade::of_heads(&attention);
        let call = Call { attention: &attention, encoder: &*encoder, fades: &fades, inputs };
        match mask {
            Mask::Causal { queries, .. } => call.causal_forward(queries, out),
            Mask::Full { queries, .. } if !fades.is_empty() => call.two_sided_forward(queries, out),
            Mask::Full { queries, keys } => call.full_forward(queries, keys, out),
        }
    }

    /// Backward pass: gradients of `⟨d_out, out⟩ + ⟨d_state, state⟩`, given the forward's `out`.
    ///
    /// # Cost
    /// Beyond its result and the tiles of [`forward`](Self::forward), the states between the chunks of the heads that a
    /// thread takes together, at most eight: `T·K'·V/C` numbers each. Two-sided it takes one head, and three times as many.
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
        let mut gradients = Gradients::default();
        self.backward_into(mask, inputs, out, d_out, d_state, &mut gradients);
        gradients
    }

    /// [`backward`](Self::backward) that overwrites `gradients`. Memory that was never used costs several times the
    /// writing itself, so a caller who can keep the gradients of an earlier call should.
    ///
    /// # Panics
    /// If a slice has not the length that the segments and sizes imply.
    pub fn backward_into(
        &self,
        mask: Mask<'_>,
        inputs: Inputs<'_, R>,
        out: &[R],
        d_out: &[R],
        d_state: Option<&State<R>>,
        gradients: &mut Gradients<R>,
    ) {
        self.check(mask, inputs);
        assert_eq!(out.len(), d_out.len(), "out and its gradient differ in length");
        assert_eq!(
            out.len() * self.key_dim(),
            inputs.q.len() * self.value_dim,
            "out has not [N, H, V] elements"
        );
        if let Some(ahead) = EncodedAhead::new(self, mask, inputs) {
            let d = ahead.attention.backward(mask, ahead.inputs(inputs), out, d_out, d_state);
            *gradients = ahead.vjp(self, mask, inputs, d);
            return;
        }
        let (attention, encoder) = (self.with_fitting_chunk(), self.encoding.bind(inputs.params));
        let fades = Fade::of_heads(&attention);
        let call = Call { attention: &attention, encoder: &*encoder, fades: &fades, inputs };
        let cotangent = Cotangent { out, d_out, d_state };
        for (d, like) in
            [(&mut gradients.q, inputs.q), (&mut gradients.k, inputs.k), (&mut gradients.v, inputs.v)]
        {
            d.resize(like.len(), R::ZERO);
        }
        match mask {
            Mask::Causal { queries, .. } => call.causal_backward(queries, cotangent, gradients),
            Mask::Full { queries, .. } if !fades.is_empty() => {
                call.two_sided_backward(queries, cotangent, gradients);
            }
            Mask::Full { queries, keys } => call.full_backward(queries, keys, cotangent, gradients),
        }
    }

    fn check(&self, mask: Mask<'_>, inputs: Inputs<'_, R>) {
        let (h, k, v) = (self.heads, self.key_dim(), self.value_dim);
        assert!(self.chunk > 0, "the chunk length is 0");
        let (first, second) = match self.stage {
            Stage::AfterFeatureMap => (self.feature_map.feature_dim(), self.encoding.key_dim()),
            Stage::BeforeFeatureMap => (self.encoding.encoded_dim(), self.feature_map.width()),
        };
        assert_eq!(first, second, "the feature map and the encoding differ in the width between them");
        assert!(
            mask.queries() == mask.keys() || !self.decays(),
            "λ^|lag| is a product of two powers on one side of a query: a decay needs queries and keys of the same tokens"
        );
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
