//! The logits of one block of queries and keys, and the way back:
//! `s_ij = Σ_c λ_c^|t_j − s_i| q_ic k_jc + b(q_i, t_j − s_i)`, the queries times the scale.

use super::SoftmaxAttention;
use super::per_feature::PerFeature;
use crate::encoding::Decay;
use crate::encoding::bias::Lags;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};

/// A factor below it moves no logit that matters, and products with denormal numbers are slow.
const NEGLIGIBLE: f64 = 1e-30;

/// Some queries and keys of one head.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, R> {
    pub head: usize,
    pub lags: Lags,
    /// True if keys after a query are hidden, whatever their logits are.
    pub causal: bool,
    /// Times the scale, `[rows, K]`.
    pub q: &'a [R],
    pub k: Mat<'a, R>,
}

/// Where a block's gradients are added up.
pub(super) struct BlockGradients<'a, R> {
    /// `[rows, K]`, of the queries times the scale.
    pub dq: &'a mut [R],
    /// `[keys, K]`.
    pub dk: &'a mut [R],
    pub d_params: &'a mut [f64],
}

/// `λ^i` rounded to 0 where it is negligible.
pub(super) fn factor<R: FastMath>(power: f64) -> R {
    if power < NEGLIGIBLE { R::ZERO } else { R::from_f64(power) }
}

impl<R: FastMath> SoftmaxAttention<R> {
    /// Writes a block's logits, `[rows, keys]`.
    pub(super) fn logits(&self, out: &mut [R], block: Block<'_, R>, params: &[R]) {
        let q = Mat::new(block.q, block.lags.rows(), self.key_dim);
        match self.decay(block.head) {
            Decay::None => matmul(out, Into::Overwrite, q, block.k.t()),
            Decay::Uniform(lambda) => {
                matmul(out, Into::Overwrite, q, block.k.t());
                block.lags.scale(out, &powers(*lambda, block.lags));
            }
            Decay::PerFeature(lambdas) => PerFeature { lambdas }.logits(out, block),
        }
        if let Some(bias) = &self.bias {
            bias.add(params, block.head, block.lags, block.q, out);
        }
    }

    /// Adds what the gradient `d` of a block's logits says of everything they came from; `d` is used up. It must be 0
    /// for hidden keys.
    pub(super) fn logits_vjp(
        &self,
        d: &mut [R],
        block: Block<'_, R>,
        params: &[R],
        gradients: BlockGradients<'_, R>,
    ) {
        let BlockGradients { dq, dk, d_params } = gradients;
        let Block { head, lags, q, k, .. } = block;
        if let Some(bias) = &self.bias {
            bias.vjp(params, head, lags, q, d, dq, d_params);
        }
        match self.decay(head) {
            Decay::None => {}
            Decay::Uniform(lambda) => lags.scale(d, &powers(*lambda, lags)),
            Decay::PerFeature(lambdas) => return PerFeature { lambdas }.vjp(d, block, dq, dk),
        }
        let d = Mat::new(d, lags.rows(), lags.keys());
        matmul(dk, Into::Accumulate, d.t(), Mat::new(q, lags.rows(), self.key_dim));
        matmul(dq, Into::Accumulate, d, k);
    }
}

/// `λ^|Δ|` of every lag, ascending.
fn powers<R: FastMath>(lambda: f64, lags: Lags) -> Vec<R> {
    // Outwards from the nearest lag, each from the one before: nothing overflows however far the block is.
    let lags = lags.ascending();
    let nearest = 0.clamp(lags.start, lags.end - 1);
    let mut power = lambda.powf(nearest.unsigned_abs() as f64);
    let outwards = (nearest - lags.start).max(lags.end - 1 - nearest);
    let mut powers = vec![R::ZERO; (lags.end - lags.start) as usize];
    for step in 0..=outwards {
        for lag in [nearest - step, nearest + step] {
            if lags.contains(&lag) {
                powers[(lag - lags.start) as usize] = factor(power);
            }
        }
        power *= lambda;
    }
    powers
}
