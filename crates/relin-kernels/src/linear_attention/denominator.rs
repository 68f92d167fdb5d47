//! The denominators `d_s`: sums of scores `f_s · Σ_t g_t`, the division, and the way back.

use super::head::Rows;
use super::{LinearAttention, Normalizer};
use crate::fast_math::FastMath;
use crate::reduce::sum2;
use crate::simd::dispatch;
use crate::tiles::Tile;

impl<R: FastMath> LinearAttention<R> {
    /// The divisor for a sum of scores, and whether the sum reaches it (a clamped one has no gradient).
    #[inline(always)]
    pub(super) fn divisor(&self, sum: R) -> (R, bool) {
        let eps = R::from_f64(self.eps);
        match self.normalizer {
            Normalizer::Encoded if sum > eps => (sum, true),
            Normalizer::Encoded => (eps, false),
            Normalizer::Plain => (sum + eps, true),
            Normalizer::None => (R::ONE, false),
        }
    }

    /// `sums_s = f_s · (before + Σ_{t ≤ s} g_t)`; nothing is written without a normaliser.
    pub(super) fn causal_sums(&self, before: &[R], q: &Rows<R>, k: &Rows<R>, sums: &mut [R]) {
        if before.is_empty() {
            return;
        }
        let mut own = vec![R::ZERO; before.len()];
        dispatch(
            #[inline(always)]
            || {
                for (i, sum) in sums.iter_mut().enumerate() {
                    for (own, &g) in own.iter_mut().zip(k.summed(self, i)) {
                        *own += g;
                    }
                    *sum = dot(q.summed(self, i), before) + dot(q.summed(self, i), &own);
                }
            },
        );
    }

    /// `sums_s += f_s · (after + Σ_{t > s} g_t)`.
    pub(super) fn later_sums(&self, after: &[R], q: &Rows<R>, k: &Rows<R>, sums: &mut [R]) {
        if after.is_empty() {
            return;
        }
        let mut own = vec![R::ZERO; after.len()];
        dispatch(
            #[inline(always)]
            || {
                for (i, sum) in sums.iter_mut().enumerate().rev() {
                    *sum += dot(q.summed(self, i), after) + dot(q.summed(self, i), &own);
                    axpy(R::ONE, k.summed(self, i), &mut own);
                }
            },
        );
    }

    /// `sums_s = f_s · z`; nothing is written without a normaliser.
    pub(super) fn full_sums(&self, z: &[R], q: &Rows<R>, sums: &mut [R]) {
        if z.is_empty() {
            return;
        }
        dispatch(
            #[inline(always)]
            || {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = dot(q.summed(self, i), z);
                }
            },
        );
    }

    /// Through `o = sum / divisor`: turns the rows of `d_out` into the gradient of the weighted sums, and `sums` into
    /// that of the sums of scores, `−(d_o · o) / divisor`.
    pub(super) fn divide_vjp(&self, sums: &mut [R], out: &Tile<R>, d_out: &mut Tile<R>) {
        if self.normalizer == Normalizer::None {
            return;
        }
        dispatch(
            #[inline(always)]
            || {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (divisor, reached) = self.divisor(*sum);
                    let factor = R::ONE / divisor;
                    let d_row = d_out.row_mut(i);
                    *sum = if reached { -dot(d_row, out.row(i)) * factor } else { R::ZERO };
                    for d in d_row {
                        *d *= factor;
                    }
                }
            },
        );
    }

    /// Through [`causal_sums`](Self::causal_sums): the gradients of f are written to (`plain`) or added to (`encoded`)
    /// `d_f`, likewise those of g; `d_z` goes from after the chunk to before it.
    pub(super) fn causal_sums_vjp(
        &self,
        before: &[R],
        d_z: &mut [R],
        [q, k]: [&Rows<R>; 2],
        d_sums: &[R],
        d_q: &mut SummedGradient<'_, R>,
        d_k: &mut SummedGradient<'_, R>,
    ) {
        if before.is_empty() {
            return;
        }
        let mut own = vec![R::ZERO; before.len()];
        dispatch(
            #[inline(always)]
            || {
                for (i, &d) in d_sums.iter().enumerate() {
                    for (own, &g) in own.iter_mut().zip(k.summed(self, i)) {
                        *own += g;
                    }
                    for ((d_f, &before), &own) in d_q.row(i).iter_mut().zip(before).zip(&own) {
                        *d_f += d * (before + own);
                    }
                }
                for (i, &d) in d_sums.iter().enumerate().rev() {
                    axpy(d, q.summed(self, i), d_z);
                    axpy(R::ONE, d_z, d_k.row(i));
                }
            },
        );
    }

    /// Through [`later_sums`](Self::later_sums), as [`causal_sums_vjp`](Self::causal_sums_vjp); `d_z` goes from before the
    /// chunk to after it.
    pub(super) fn later_sums_vjp(
        &self,
        after: &[R],
        d_z: &mut [R],
        [q, k]: [&Rows<R>; 2],
        d_sums: &[R],
        d_q: &mut SummedGradient<'_, R>,
        d_k: &mut SummedGradient<'_, R>,
    ) {
        if after.is_empty() {
            return;
        }
        let mut own = vec![R::ZERO; after.len()];
        dispatch(
            #[inline(always)]
            || {
                for (i, &d) in d_sums.iter().enumerate().rev() {
                    for ((d_f, &after), &own) in d_q.row(i).iter_mut().zip(after).zip(&own) {
                        *d_f += d * (after + own);
                    }
                    axpy(R::ONE, k.summed(self, i), &mut own);
                }
                for (i, &d) in d_sums.iter().enumerate() {
                    axpy(R::ONE, d_z, d_k.row(i));
                    axpy(d, q.summed(self, i), d_z);
                }
            },
        );
    }
}

/// Where a gradient for the normaliser's features is added: to that of the encoded rows, or to a buffer of its own.
pub(super) enum SummedGradient<'a, R> {
    Encoded(&'a mut Tile<R>),
    /// `[n, L]`.
    Plain(&'a mut [R], usize),
}

impl<'a, R: FastMath> SummedGradient<'a, R> {
    /// Clears `features` if the gradient goes there.
    pub fn new(attention: &LinearAttention<R>, encoded: &'a mut Tile<R>, features: &'a mut [R]) -> Self {
        if attention.sums_plain_features() {
            features.fill(R::ZERO);
            return Self::Plain(features, attention.middle_dim());
        }
        Self::Encoded(encoded)
    }

    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [R] {
        match self {
            Self::Encoded(tile) => tile.row_mut(i),
            Self::Plain(rows, width) => &mut rows[i * *width..][..*width],
        }
    }
}

#[inline(always)]
pub(super) fn dot<R: FastMath>(a: &[R], b: &[R]) -> R {
    sum2(
        a,
        b,
        #[inline(always)]
        |a, b| a * b,
    )
}

/// `into += factor · x`.
#[inline(always)]
pub(super) fn axpy<R: FastMath>(factor: R, x: &[R], into: &mut [R]) {
    for (into, &x) in into.iter_mut().zip(x) {
        *into += factor * x;
    }
}
