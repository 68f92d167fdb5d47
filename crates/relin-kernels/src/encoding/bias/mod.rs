//! Relative positions that softmax attention alone can use: a term added to each logit.
//!
//! ```text
//! logit(s, t) = q_s·k_t + b(q_s, t − s),   q already times the scale of the logits, 1/√K
//! ```
//!
//! `e^{q·k + b}` is `e^{q·k} e^{b(t − s)}`, and a table of `e^{b(Δ)}` is in general no product of a part of s and a part of t: no
//! factorisation of small width, hence no O(T). So these are no [`Encoding`](super::Encoding)s;
//! [`BiasConfig::refuse_linear`] says so.

mod alibi;
mod lags;
mod shaw;
mod t5;

pub use alibi::Alibi;
pub use lags::Lags;
pub use shaw::{Shaw, ShawConfig};
pub use t5::{T5, T5Config};

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EncodingError, Parameter, Place};
use crate::real::Real;

/// A bias on the logits of softmax attention; its parameters travel apart, as one flat slice.
pub trait Bias<R: Real>: Debug + Send + Sync {
    /// The learned parameters.
    fn parameters(&self) -> Vec<Parameter>;

    /// `b(q, Δ)`, from its definition.
    fn at(&self, params: &[R], head: usize, q: &[R], lag: i64) -> R;

    /// Adds the biases of a block to its logits.
    ///
    /// # Shapes
    /// - `q`: `[rows, K]`, times the scale of the logits; `logits`: `[rows, keys]`
    fn add(&self, params: &[R], head: usize, lags: Lags, q: &[R], logits: &mut [R]);

    /// Vector–Jacobian product of [`add`](Self::add): adds to `d_q` and `d_params`.
    fn vjp(
        &self,
        params: &[R],
        head: usize,
        lags: Lags,
        q: &[R],
        d_logits: &[R],
        d_q: &mut [R],
        d_params: &mut [f64],
    );

    /// With how many vectors of width K a query is multiplied for the lags of a range.
    fn products(&self, _lags: Range<i64>) -> usize {
        0
    }
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

    /// Blocks on the diagonal, before it, after it, far away, of one query and of one key.
    const BLOCKS: [(i64, usize, i64, usize); 6] = [
        (7, 9, 5, 13),
        (150, 3, 3, 140),
        (0, 5, 2, 40),
        (1_000_000, 4, 0, 3),
        (40, 1, 0, 41),
        (3, 30, 20, 1),
    ];

    fn each_bias(run: impl Fn(&str, &dyn Bias<f64>, &[f64])) {
        let wide = T5Config { bidirectional: true, ..T5Config::default() };
        let configs =
            ["t5", "alibi", "shaw"].map(|name| (name, BiasConfig::named(name).unwrap())).into_iter();
        for (name, config) in configs.chain([("t5, bidirectional", BiasConfig::T5(wide))]) {
            let bias = config.build::<f64>(PLACE).unwrap();
            let len = bias.parameters().iter().map(Parameter::len).sum();
            run(name, &*bias, &normals::<f64>(1, len));
        }
    }

    #[test]
    fn blocks_are_the_definition() {
        each_bias(|name, bias, params| {
            for (query, rows, key, keys) in BLOCKS {
                let q = normals::<f64>(2, rows * 4);
                let mut found = vec![0.5; rows * keys];
                bias.add(params, 1, Lags::new(query, rows, key, keys), &q, &mut found);
                let at = |r: usize, c: usize| {
                    0.5 + bias.at(params, 1, &q[r * 4..][..4], key + c as i64 - query - r as i64)
                };
                let expected: Vec<f64> = (0..rows * keys).map(|i| at(i / keys, i % keys)).collect();
                assert_close(name, &found, &expected, 1e-14);
            }
        });
    }

    #[test]
    fn gradients_are_central_differences() {
        each_bias(|name, bias, params| {
            for (query, rows, key, keys) in BLOCKS {
                let lags = Lags::new(query, rows, key, keys);
                let (q, d) = (normals::<f64>(2, rows * 4), normals::<f64>(3, rows * keys));
                let value = |params: &[f64], q: &[f64]| {
                    let mut logits = vec![0.0; rows * keys];
                    bias.add(params, 1, lags, q, &mut logits);
                    dot(&logits, &d)
                };
                let (mut d_q, mut d_params) = (vec![0.0; q.len()], vec![0.0; params.len()]);
                bias.vjp(params, 1, lags, &q, &d, &mut d_q, &mut d_params);
                // ALiBi's value is large and has no slope.
                let near = |found: &[f64], expected: &[f64]| {
                    let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(far < 1e-8 * value(params, &q).abs().max(1.0), "{name}: {far}");
                };
                near(&d_q, &numeric_gradient(&q, |q| value(params, q)));
                near(&d_params, &numeric_gradient(params, |params| value(params, &q)));
            }
        });
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
