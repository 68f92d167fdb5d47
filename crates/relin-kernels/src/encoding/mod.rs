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
pub mod lrpe;
mod presets;

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::real::Real;
pub use absent::Absent;
pub use lrpe::{Lrpe, LrpeConfig};
pub use presets::{PRESETS, Preset, preset};

/// Which of the two maps: `M^q` or `M^k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Queries.
    Query,
    /// Keys.
    Key,
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
}

/// An [`Encoding`] bound to parameter values.
pub trait Encoder<R: Real>: Debug + Send + Sync {
    /// Encodes consecutive rows: `out_i = M_{position + i} x_i`.
    ///
    /// # Shapes
    /// - `x`: `[n, K]`
    /// - `out`: `[n, K']`, overwritten
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]);

    /// Encodes the row of every head of one token: `out_h = M_position x_h`.
    ///
    /// # Shapes
    /// - `x`: `[H, K]`
    /// - `out`: `[H, K']`, overwritten
    fn encode_heads(&self, side: Side, heads: usize, position: i64, x: &[R], out: &mut [R]) {
        let (k, encoded) = (x.len() / heads, out.len() / heads);
        for (head, (x, out)) in x.chunks(k).zip(out.chunks_mut(encoded)).enumerate() {
            self.encode(side, head, position, x, out);
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
}

/// Which encoding, as a recipe or a checkpoint states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EncodingConfig {
    /// No relative encoding: `W = I`.
    None,
    /// The LRPE family, RoPE included.
    Lrpe(LrpeConfig),
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
    /// Builds the encoding.
    ///
    /// # Errors
    /// If the configuration contradicts itself or the width.
    pub fn build<R: Real>(&self, place: Place) -> Result<Arc<dyn Encoding<R>>, EncodingError> {
        Ok(match self {
            Self::None => Arc::new(Absent::new(place.key_dim)),
            Self::Lrpe(config) => Arc::new(Lrpe::new(config, place)?),
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
