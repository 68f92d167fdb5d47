//! Relative positions that softmax attention alone can use: a term added to each logit.
//!
//! ```text
//! logit(s, t) = q_s·k_t / √K + b(q_s, t − s)
//! ```
//!
//! `e^{q·k + b}` is `e^{q·k} e^{b(t − s)}`, and a table of `e^{b(Δ)}` is in general no product of a part of s and a part of t: no
//! factorisation of small width, hence no O(T). So these are no [`Encoding`](super::Encoding)s;
//! [`BiasConfig::refuse_linear`] says so.

mod alibi;
mod shaw;
mod t5;

pub use alibi::Alibi;
pub use shaw::{Shaw, ShawConfig};
pub use t5::{T5, T5Config};

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EncodingError, Parameter, Place};
use crate::real::Real;

/// A bias on the logits of softmax attention; its parameters travel apart, as one flat slice.
pub trait Bias<R: Real>: Debug + Send + Sync {
    /// The learned parameters.
    fn parameters(&self) -> Vec<Parameter>;

    /// Adds the biases of one query and consecutive keys to their logits.
    ///
    /// # Shapes
    /// - `q`: `[K]`; `logits`: `[n]`, of the keys `first_key ..`
    fn add(&self, params: &[R], head: usize, q: &[R], query: i64, first_key: i64, logits: &mut [R]);

    /// Vector–Jacobian product of [`add`](Self::add): adds to `d_q` and `d_params`.
    fn vjp(
        &self,
        params: &[R],
        head: usize,
        q: &[R],
        query: i64,
        first_key: i64,
        d_logits: &[R],
        d_q: &mut [R],
        d_params: &mut [f64],
    );
}

/// Which bias, as a recipe or a checkpoint states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum BiasConfig {
    /// A learned number for each bucket of lags.
    T5(T5Config),
    /// `−m_h |Δ|`.
    Alibi,
    /// A learned vector for each lag, multiplied with the query.
    Shaw(ShawConfig),
}

impl BiasConfig {
    /// The bias of that preset: `t5`, `alibi`, `shaw`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "t5" => Some(Self::T5(T5Config::default())),
            "alibi" => Some(Self::Alibi),
            "shaw" => Some(Self::Shaw(ShawConfig::default())),
            _ => None,
        }
    }

    /// Builds the bias of one layer.
    ///
    /// # Errors
    /// If a number is out of range.
    pub fn build<R: Real>(&self, place: Place) -> Result<Arc<dyn Bias<R>>, EncodingError> {
        Ok(match self {
            Self::T5(config) => Arc::new(T5::new(config, place)?),
            Self::Alibi => Arc::new(Alibi::new(place.heads)),
            Self::Shaw(config) => Arc::new(Shaw::new(config, place)?),
        })
    }

    /// Why linear attention cannot use it, and what to use instead.
    pub fn refuse_linear(&self) -> EncodingError {
        let (name, instead) = match self {
            Self::T5(_) => ("t5", "\"conv-spe\", which learns a table of lags too"),
            Self::Alibi => ("alibi", "\"decay\", which is the multiplicative form of the same slopes"),
            Self::Shaw(_) => ("shaw", "\"conv-spe\" or any rotation such as \"rope\""),
        };
        EncodingError::NeedsSoftmax { name, instead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, dot, normals, numeric_gradient};

    const PLACE: Place = Place { key_dim: 4, heads: 2, layer: 0 };

    #[test]
    fn gradients_are_central_differences() {
        for name in ["t5", "alibi", "shaw"] {
            let bias = BiasConfig::named(name).unwrap().build::<f64>(PLACE).unwrap();
            let initial: usize = bias.parameters().iter().map(Parameter::len).sum();
            let (params, q, d) = (normals::<f64>(1, initial), normals::<f64>(2, 4), normals::<f64>(3, 300));
            let value = |params: &[f64], q: &[f64]| {
                let mut logits = vec![0.0; 300];
                bias.add(params, 1, q, 150, 3, &mut logits);
                dot(&logits, &d)
            };
            let (mut d_q, mut d_params) = (vec![0.0; 4], vec![0.0; initial]);
            bias.vjp(&params, 1, &q, 150, 3, &d, &mut d_q, &mut d_params);
            assert_close(name, &d_q, &numeric_gradient(&q, |q| value(&params, q)), 1e-8);
            assert_close(name, &d_params, &numeric_gradient(&params, |params| value(params, &q)), 1e-8);
        }
    }

    #[test]
    fn linear_attention_is_told_what_to_use() {
        let message = BiasConfig::Alibi.refuse_linear().to_string();
        for part in ["alibi", "no product", "attention = \"softmax\"", "\"decay\""] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn tables_of_options_come_back() {
        let t5: BiasConfig = serde_json::from_str(r#"{"type":"t5","buckets":16}"#).unwrap();
        assert_eq!(t5, BiasConfig::T5(T5Config { buckets: 16, ..T5Config::default() }));
        assert!(serde_json::from_str::<BiasConfig>(r#"{"type":"t5","bucket":16}"#).is_err());
    }
}
