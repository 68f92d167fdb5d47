//! The canonical form of a relative position encoding that linear attention can use.
//!
//! An encoding is a pair of position-dependent linear maps whose product depends on the lag alone,
//!
//! ```text
//! (M^q_s)^H M^k_t = W_{t−s},        score(s, t) = q_s^T W_{t−s} k_t = (M^q_s q_s) · (M^k_t k_t)
//! ```
//!
//! so it can be applied to queries and keys separately, in O(T). Everything else follows from that pair:
//! [`Encoder::encode`] applies it, [`Encoder::vjp`] differentiates it, and [`Encoding::kernel`] states the dense
//! `W` that both must agree with.
//!
//! # Reference
//! LRPE (arXiv 2307.09270), Eq. 6 and 12–14.

mod absent;
pub mod bias;
pub mod cosformer;
pub mod decay;
pub mod grid;
pub mod lrpe;
pub mod orthogonal_group;
pub mod permuteformer;
mod presets;
pub mod signed_permutation;
pub mod spe;
pub mod xpos;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::feature_map::FeatureMap;
use crate::real::Real;
use crate::simd::Lanes;
pub use absent::Absent;
pub use cosformer::CosformerConfig;
pub use decay::{DecayConfig, Decaying};
pub use grid::{Grid, GridConfig};
pub use lrpe::{Lrpe, LrpeConfig};
pub use orthogonal_group::{OrthogonalGroup, OrthogonalGroupConfig};
pub use permuteformer::PermuteformerConfig;
pub use presets::{PRESETS, Preset, preset};
pub use signed_permutation::{SignedPermutation, SignedPermutationConfig};
pub use spe::{ConvSpe, ConvSpeConfig, SineSpe, SineSpeConfig};
pub use xpos::{Xpos, XposConfig};

/// Which of the two maps: `M^q` or `M^k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Queries.
    Query,
    /// Keys.
    Key,
}

/// Where an encoding stands relative to the feature map φ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// On q and k: the features are `φ(M q)`, of width `φ.feature_dim(K')`. SPE.
    #[serde(alias = "BeforeFeatureMap")]
    BeforeFeatureMap,
    /// On the features: `M φ(q)`. LRPE and all other deterministic encodings.
    #[serde(alias = "AfterFeatureMap")]
    AfterFeatureMap,
}

impl Stage {
    /// Width of the rows that the feature map takes, for q and k of width `key_dim`.
    pub fn mapped_dim<R: Real>(self, key_dim: usize, encoding: &dyn Encoding<R>) -> usize {
        match self {
            Self::BeforeFeatureMap => encoding.encoded_dim(),
            Self::AfterFeatureMap => key_dim,
        }
    }
}

/// Decay of a kernel with the distance `|lag|`.
///
/// It is no part of the maps `M`, since `λ^{−t}` overflows. It belongs to the state, `S ← λ S + k̃ v^T`, and to the
/// scores of a chunk, `λ^{s−t} q̃_s·k̃_t`.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// `W` does not shrink.
    None,
    /// `λ^{|lag|}` for all features.
    Uniform(f64),
    /// `λ_j^{|lag|}` for the encoded feature j, `[K']`; every `λ_j` is at least `½^{1/64}`, so that `λ_j^{−i}` is
    /// harmless within a chunk.
    PerFeature(Vec<f64>),
}

impl Decay {
    /// `λ_j^{|lag|}` of the encoded feature j.
    pub fn factor(&self, j: usize, lag: i64) -> f64 {
        let power = lag.unsigned_abs() as f64;
        match self {
            Self::None => 1.0,
            Self::Uniform(lambda) => lambda.powf(power),
            Self::PerFeature(lambdas) => lambdas[j].powf(power),
        }
    }
}

/// How [`Encoder::encode`] relates to [`Encoding::kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Equal up to rounding.
    Exact,
    /// The kernel is the expectation over the noise; the error falls as `1/√realizations`.
    InExpectation {
        /// `R`.
        realizations: usize,
    },
}

/// A learned tensor of an encoding, with its initial value.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name in checkpoints.
    pub name: &'static str,
    /// Shape; the first axis is heads (1 if the heads share it).
    pub shape: Vec<usize>,
    /// Initial value, row-major.
    pub init: Vec<f64>,
    /// Whether the position multiplies it as it stands, as it does angles: what a change of it does grows with the lag.
    pub multiplies_position: bool,
}

impl Parameter {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.init.len()
    }

    /// True if it holds no scalar.
    pub fn is_empty(&self) -> bool {
        self.init.is_empty()
    }
}

/// A relative position encoding in canonical form.
///
/// Its learned parameters travel apart from it, as one flat slice: the [`parameters`](Self::parameters) laid end
/// to end in their order.
pub trait Encoding<R: Real>: Debug + Send + Sync {
    /// `K`, the width it takes.
    fn key_dim(&self) -> usize;

    /// `K'`, the width it gives.
    fn encoded_dim(&self) -> usize;

    /// The learned parameters.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// The maps for given parameter values, with all that does not depend on the position computed once.
    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>>;

    /// The exact kernel `W_lag` of one head in double precision, `K × K` row-major, computed from its definition
    /// and independently of [`Encoder::encode`].
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64>;

    /// `W` between two positions. It differs from [`kernel`](Self::kernel) of their difference only where positions
    /// number the cells of a grid.
    fn kernel_between(&self, params: &[R], head: usize, query: i64, key: i64) -> Vec<f64> {
        self.kernel(params, head, key - query)
    }

    /// Shifting all positions by a multiple of it changes no kernel: 1, except where positions number the cells of a
    /// grid.
    fn shift_step(&self) -> i64 {
        1
    }

    /// Where it acts.
    fn stage(&self) -> Stage {
        Stage::AfterFeatureMap
    }

    /// The decay of one head, which [`kernel`](Self::kernel) includes and [`Encoder::encode`] does not.
    fn decay(&self, _head: usize) -> Decay {
        Decay::None
    }

    /// Whether rows keep their length: `W_0 = I` and `‖M_s x‖ = ‖x‖`.
    fn is_unitary(&self) -> bool {
        true
    }

    /// Whether encoded scores are the kernel's or only their estimate.
    fn agreement(&self) -> Agreement {
        Agreement::Exact
    }

    /// What softmax attention multiplies inner products of encoded rows by.
    fn logit_scale(&self) -> f64 {
        (self.key_dim() as f64).powf(-0.5)
    }

    /// The map itself, `M^T` as `[K, K']`, from its definition in double precision and independently of
    /// [`Encoder::encode`]. Stochastic encodings state it, noise included; for others the kernel says enough.
    fn dense_map(&self, _params: &[R], _side: Side, _head: usize, _position: i64) -> Option<Vec<f64>> {
        None
    }

    /// The same encoding with the noise number `draw`; `None` if there is no noise or it is frozen. The parameters
    /// stay as they are. A training loop passes its step, evaluation and generation a constant.
    fn redrawn(&self, _draw: u64) -> Option<Arc<dyn Encoding<R>>> {
        None
    }

    /// Names of the [`parameters`](Self::parameters) that all layers of a model are to have in common; they come first.
    fn shared_parameters(&self) -> &'static [&'static str] {
        &[]
    }

    /// Rows whose cost a call of [`Encoder::encode`] pays besides its own: `n` rows cost as `n + halo`. Where it is not 0, encode
    /// many rows at once.
    fn halo(&self) -> usize {
        0
    }

    /// Whether the dear part of a row depends on its position alone, so that sequences at the same positions are much cheaper
    /// by [`Encoder::encode_sequences`] than one by one.
    fn shares_positions(&self) -> bool {
        false
    }
}

/// An [`Encoding`] bound to parameter values.
pub trait Encoder<R: Real>: Debug + Send + Sync {
    /// Encodes consecutive rows: `out_i = M_{position + i} x_i`.
    ///
    /// # Shapes
    /// - `x`: `[n, K]`
    /// - `out`: `[n, K']`, overwritten
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]);

    /// Encodes several sequences at the same consecutive positions: `out_bi = M_{position + i} x_bi`. For encodings that can
    /// share the work.
    ///
    /// # Shapes
    /// - `x`: `[sequences, n, K]`
    /// - `out`: `[sequences, n, K']`, overwritten
    fn encode_sequences(
        &self,
        side: Side,
        head: usize,
        position: i64,
        sequences: usize,
        x: &[R],
        out: &mut [R],
    ) {
        let [x_len, out_len] = [x.len(), out.len()].map(|len| (len / sequences.max(1)).max(1));
        for (x, out) in x.chunks(x_len).zip(out.chunks_mut(out_len)) {
            self.encode(side, head, position, x, out);
        }
    }

    /// Encodes rows at any positions: `out_i = M_{positions_i} x_i`. For encodings to do better than run by run.
    ///
    /// # Shapes
    /// As [`encode`](Self::encode).
    fn encode_at(&self, side: Side, head: usize, positions: &[i64], x: &[R], out: &mut [R]) {
        let [k, width] = [x.len(), out.len()].map(|len| len / positions.len().max(1));
        for (rows, first) in runs(positions.len(), |i| positions[i]) {
            let [x_at, out_at] = [k, width].map(|width| rows.start * width..rows.end * width);
            self.encode(side, head, first, &x[x_at], &mut out[out_at]);
        }
    }

    /// Encodes one token: the query's and the key's row of every head, `out_h = M_position x_h`.
    ///
    /// # Shapes
    /// - `x`: queries and keys, `[H, K]`
    /// - `out`: `[H, K']`, overwritten
    fn encode_token(&self, heads: usize, position: i64, x: [&[R]; 2], out: [&mut [R]; 2]) {
        for ((side, x), out) in [Side::Query, Side::Key].into_iter().zip(x).zip(out) {
            let rows = x.chunks(x.len() / heads).zip(out.chunks_mut(out.len() / heads));
            rows.enumerate().for_each(|(head, (x, out))| self.encode(side, head, position, x, out));
        }
    }

    /// The maps of consecutive positions as matrices: row d of map i is what position `first + i` makes of feature d alone.
    /// Generation uses them where [`Encoding::halo`] makes single rows dear.
    ///
    /// # Shapes
    /// - `out`: `[rows, K, K']`, overwritten
    fn maps(&self, side: Side, head: usize, first: i64, rows: usize, key_dim: usize, out: &mut [R]) {
        let mut unit = vec![R::ZERO; key_dim];
        let width = out.len() / (rows * key_dim);
        for (at, row) in out.chunks_mut(width).enumerate() {
            let d = at % key_dim;
            unit[d] = R::ONE;
            self.encode(side, head, first + (at / key_dim) as i64, &unit, row);
            unit[d] = R::ZERO;
        }
    }

    /// Vector–Jacobian product of [`encode`](Self::encode): `d_x_i = M_{position + i}^T d_out_i`, and the
    /// parameters' gradient added to `d_params`.
    ///
    /// `encoded` is what [`encode`](Self::encode) made of `x`.
    ///
    /// # Shapes
    /// - `x`: `[n, K]`; `encoded`, `d_out`: `[n, K']`
    /// - `d_x`: `[n, K]`, overwritten
    /// - `d_params`: the flat parameters, accumulated in double precision (θ's gradient grows with the position)
    fn vjp(
        &self,
        side: Side,
        head: usize,
        position: i64,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    );

    /// [`vjp`](Self::vjp) of [`encode_sequences`](Self::encode_sequences).
    fn vjp_sequences(
        &self,
        side: Side,
        head: usize,
        position: i64,
        sequences: usize,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let [x_len, out_len] = [x.len(), d_out.len()].map(|len| (len / sequences.max(1)).max(1));
        let rows = x.chunks(x_len).zip(encoded.chunks(out_len)).zip(d_out.chunks(out_len));
        for (((x, encoded), d_out), d_x) in rows.zip(d_x.chunks_mut(x_len)) {
            self.vjp(side, head, position, x, encoded, d_out, d_x, d_params);
        }
    }

    /// [`vjp`](Self::vjp) of [`encode_at`](Self::encode_at).
    fn vjp_at(
        &self,
        side: Side,
        head: usize,
        positions: &[i64],
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let [k, width] = [x.len(), d_out.len()].map(|len| len / positions.len().max(1));
        for (rows, first) in runs(positions.len(), |i| positions[i]) {
            let [x_at, out_at] = [k, width].map(|width| rows.start * width..rows.end * width);
            let (encoded, d_out) = (&encoded[out_at.clone()], &d_out[out_at]);
            self.vjp(side, head, first, &x[x_at.clone()], encoded, d_out, &mut d_x[x_at], d_params);
        }
    }
}

/// Rows whose positions follow each other, and the position of the first of them.
pub(crate) fn runs(rows: usize, at: impl Fn(usize) -> i64) -> impl Iterator<Item = (Range<usize>, i64)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next;
        let first = (start < rows).then(|| at(start))?;
        let follows = |row: &usize| at(*row) == first + (*row - start) as i64;
        next = start + (start..rows).take_while(follows).count();
        Some((start..next, first))
    })
}

/// Which encoding, as a recipe or a checkpoint states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EncodingConfig {
    /// No relative encoding: `W = I`.
    None,
    /// The LRPE family, RoPE included.
    Lrpe(LrpeConfig),
    /// Stochastic positional encoding by sines, or its exact limit.
    SineSpe(SineSpeConfig),
    /// Stochastic positional encoding by filters.
    ConvSpe(ConvSpeConfig),
    /// One slow phase.
    Cosformer(CosformerConfig),
    /// A permutation a head, with decay.
    Permuteformer(PermuteformerConfig),
    /// Rotation with decay of each pair.
    Xpos(XposConfig),
    /// Decay, alone or around another encoding.
    Decay(DecayConfig),
    /// Positions in several dimensions.
    Grid(GridConfig),
    /// Powers of a learned orthogonal matrix.
    OrthogonalGroup(OrthogonalGroupConfig),
    /// Powers of a signed permutation.
    SignedPermutation(SignedPermutationConfig),
}

/// Where an encoding is built: its width, and what makes its random choices differ between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `K`.
    pub key_dim: usize,
    /// `H`.
    pub heads: usize,
    /// Index of the layer; layers of one model draw different reflections and permutations.
    pub layer: usize,
}

impl EncodingConfig {
    /// Where it acts if nothing else is said: as the encoding belongs, but always before random features, whose kernel is
    /// that of the encoded rows.
    pub fn stage(&self, feature_map: FeatureMap) -> Stage {
        match (self, feature_map) {
            (Self::SineSpe(_) | Self::ConvSpe(_), _) | (_, FeatureMap::Random(_)) => Stage::BeforeFeatureMap,
            _ => Stage::AfterFeatureMap,
        }
    }

    /// Builds the encoding.
    ///
    /// # Errors
    /// If the configuration contradicts itself or the width.
    pub fn build<R: Lanes>(&self, place: Place) -> Result<Arc<dyn Encoding<R>>, EncodingError> {
        Ok(match self {
            Self::None => Arc::new(Absent::new(place.key_dim)),
            Self::Lrpe(config) => Arc::new(Lrpe::new(config, place)?),
            Self::SineSpe(config) => Arc::new(SineSpe::new(config, place)?),
            Self::ConvSpe(config) => Arc::new(ConvSpe::new(config, place)?),
            Self::Cosformer(config) => Arc::new(config.build(place)?),
            Self::Permuteformer(config) => return config.parts().build(place),
            Self::Xpos(config) => Arc::new(Xpos::new(config, place)?),
            Self::Decay(config) => Arc::new(Decaying::new(config, place)?),
            Self::Grid(config) => Arc::new(Grid::new(config, place)?),
            Self::OrthogonalGroup(config) => Arc::new(OrthogonalGroup::new(config, place)?),
            Self::SignedPermutation(config) => Arc::new(SignedPermutation::new(config, place)?),
        })
    }
}

/// Why an encoding cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EncodingError {
    /// Rotations act on pairs of features.
    #[error(
        "the orthogonal family rotates pairs of features, so the head size must be even; it is {key_dim}"
    )]
    OddWidth {
        /// Head size given.
        key_dim: usize,
    },
    /// Too few features for the family.
    #[error("{family} needs a head size of at least {needed}; it is {key_dim}")]
    TooNarrow {
        /// Family or option.
        family: &'static str,
        /// Smallest head size.
        needed: usize,
        /// Head size given.
        key_dim: usize,
    },
    /// A complex basis needs the complex family.
    #[error(
        "basis \"fourier\" is complex, which only family \"unitary\" can use; the family is \"{family}\""
    )]
    ComplexBasis {
        /// Family given.
        family: &'static str,
    },
    /// A switch that has nothing to act on.
    #[error("{option} = true has no effect: {reason}")]
    NothingToLearn {
        /// The option.
        option: &'static str,
        /// Why it has no effect.
        reason: &'static str,
    },
    /// A field is set that nothing reads.
    #[error("{field} is set, but only {reader} reads it: leave it out")]
    Unread {
        /// The field.
        field: &'static str,
        /// What would read it.
        reader: &'static str,
    },
    /// A bias on logits has no factorisation.
    #[error(
        "{name} adds a bias to the logits, which is no product of a query's part and a key's part, so linear attention cannot use it; \
         use attention = \"softmax\", or with linear attention {instead}"
    )]
    NeedsSoftmax {
        /// The bias.
        name: &'static str,
        /// What comes nearest to it.
        instead: &'static str,
    },
    /// A number out of its range.
    #[error("{field} must be {expected}; it is {found}")]
    BadValue {
        /// Which field.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
}
