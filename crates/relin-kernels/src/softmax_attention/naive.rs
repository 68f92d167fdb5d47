//! The equation as printed, in `f64`, with every score in memory.

use super::{AttentionError, Inputs, SoftmaxAttention};
use crate::segments::Mask;

/// `out_i = Σ_j p_ij v_j`, `p_ij = e^(s_ij) / Σ_j e^(s_ij)`, and the logits `s_ij` of the
/// [operator](super).
///
/// # Errors
/// If shapes or segments do not fit.
pub fn forward(
    attention: &SoftmaxAttention<f64>,
    inputs: Inputs<'_, f64>,
    mask: Mask<'_>,
) -> Result<Vec<f64>, AttentionError> {
    let pairs = attention.check(inputs, mask)?;
    let SoftmaxAttention { heads, key_dim, value_dim, .. } = *attention;
    let mut out = vec![0.0; attention.tokens(inputs).0 * heads * value_dim];
    for pair in pairs {
        for (i, query) in pair.queries.tokens().enumerate() {
            for h in 0..heads {
                let q = &inputs.q[(query * heads + h) * key_dim..][..key_dim];
                let keys = pair.keys.tokens().take(pair.visible(i));
                let score = |key: usize| {
                    let k = &inputs.k[(key * heads + h) * key_dim..][..key_dim];
                    let lag = pair.key_position(key - pair.keys.start) - pair.query_position(i);
                    attention.logit(inputs.params, h, q, k, lag)
                };
                let top = keys.clone().map(score).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = keys.clone().map(|key| (score(key) - top).exp()).sum();
                for key in keys {
                    let p = (score(key) - top).exp() / total;
                    for c in 0..value_dim {
                        out[(query * heads + h) * value_dim + c] +=
                            p * inputs.v[(key * heads + h) * value_dim + c];
                    }
                }
            }
        }
    }
    Ok(out)
}

impl SoftmaxAttention<f64> {
    pub(super) fn logit(&self, params: &[f64], head: usize, q: &[f64], k: &[f64], lag: i64) -> f64 {
        let q: Vec<f64> = q.iter().map(|q| self.scale * q).collect();
        let decay = self.decay(head);
        let products = q.iter().zip(k).enumerate().map(|(c, (q, k))| decay.factor(c, lag) * q * k);
        products.sum::<f64>() + self.bias.as_ref().map_or(0.0, |bias| bias.at(params, head, &q, lag))
    }
}
