//! The equation as printed, in `f64`, with every score in memory.

use super::{AttentionError, Inputs, SoftmaxAttention};
use crate::segments::Mask;

/// `out_i = Σ_j p_ij v_j`, `p_ij = e^(s_ij) / Σ_j e^(s_ij)`, `s_ij = scale · q_i·k_j`.
///
/// # Errors
/// If shapes or segments do not fit.
pub fn forward(
    attention: &SoftmaxAttention,
    inputs: Inputs<'_, f64>,
    mask: Mask<'_>,
) -> Result<Vec<f64>, AttentionError> {
    let pairs = attention.check(inputs, mask)?;
    let SoftmaxAttention { heads, key_dim, value_dim, scale } = *attention;
    let mut out = vec![0.0; attention.tokens(inputs).0 * heads * value_dim];
    for pair in pairs {
        for (i, query) in pair.queries.tokens().enumerate() {
            for h in 0..heads {
                let q = &inputs.q[(query * heads + h) * key_dim..][..key_dim];
                let keys = pair.keys.tokens().take(pair.visible(i));
                let score = |key: usize| {
                    let k = &inputs.k[(key * heads + h) * key_dim..][..key_dim];
                    scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>()
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
