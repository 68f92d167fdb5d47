//! The AdamW step and the global gradient norm, on flat slices.

use rayon::prelude::*;

use crate::real::Real;
use crate::reduce::sum;
use crate::simd::dispatch;

const BLOCK: usize = 8192;

/// Adam with decoupled weight decay.
///
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `ρ = m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)`, `θ ← θ − lr (ρ + λ θ)`.
///
/// `ρ` is ±1 where gradients are equal, and with gradients that are noise alone not 0 but about `√((1 − β₁)/(1 + β₁))`, a
/// random walk. It is bounded if `β₁² < β₂`, by 1 if `β₁ = β₂`. [`squared`](Self::squared) takes `ρ |ρ|` in its place, which is nearly the same where
/// gradients agree, and far shorter where they do not.
///
/// # Reference
/// I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2; their η α is `lr`, and
/// λ is multiplied by it, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Step size.
    pub lr: f64,
    /// Memory of the first moment.
    pub beta1: f64,
    /// Memory of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
    /// Whether steps are `ρ |ρ|` instead of `ρ`.
    pub squared: bool,
}

impl AdamW {
    /// Step number `t` (the first is 1) with gradients `gradient_scale · gradients` (see [`clip_factor`]).
    ///
    /// # Panics
    /// If the lengths differ or `t` is 0.
    pub fn step<R: Real>(
        &self,
        parameters: &mut [R],
        gradients: &[R],
        first: &mut [R],
        second: &mut [R],
        t: u64,
        gradient_scale: f64,
    ) {
        let n = parameters.len();
        assert!(t > 0, "the first step is number 1");
        for (name, len) in
            [("gradients", gradients.len()), ("first moment", first.len()), ("second moment", second.len())]
        {
            assert_eq!(len, n, "{name} has {len} elements, the parameters {n}");
        }
        let update = Update::new(self, t, gradient_scale);
        let moments = first.par_chunks_mut(BLOCK).zip(second.par_chunks_mut(BLOCK));
        let blocks = parameters.par_chunks_mut(BLOCK).zip(gradients.par_chunks(BLOCK)).zip(moments);
        blocks.for_each(|((parameters, gradients), (first, second))| {
            dispatch(
                #[inline(always)]
                || {
                    let moments = first.iter_mut().zip(second);
                    for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
                        update.apply(p, g, m, v);
                    }
                },
            );
        });
    }
}

/// The numbers of one step, computed in `f64` and rounded once.
struct Update<R> {
    gradient_scale: R,
    beta1: R,
    one_minus_beta1: R,
    beta2: R,
    one_minus_beta2: R,
    step: R,
    squared: bool,
    inverse_correction: R,
    inverse_root_correction: R,
    eps: R,
    decay: R,
}

impl<R: Real> Update<R> {
    fn new(adamw: &AdamW, t: u64, gradient_scale: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(t as f64);
        let real = R::from_f64;
        Self {
            gradient_scale: real(gradient_scale),
            beta1: real(adamw.beta1),
            one_minus_beta1: real(1.0 - adamw.beta1),
            beta2: real(adamw.beta2),
            one_minus_beta2: real(1.0 - adamw.beta2),
            step: real(adamw.lr / correction(adamw.beta1)),
            squared: adamw.squared,
            inverse_correction: real(1.0 / correction(adamw.beta1)),
            inverse_root_correction: real(1.0 / correction(adamw.beta2).sqrt()),
            eps: real(adamw.eps),
            decay: real(adamw.lr * adamw.weight_decay),
        }
    }

    #[inline(always)]
    fn apply(&self, parameter: &mut R, gradient: R, first: &mut R, second: &mut R) {
        let g = gradient * self.gradient_scale;
        let m = self.beta1 * *first + self.one_minus_beta1 * g;
        let v = self.beta2 * *second + self.one_minus_beta2 * (g * g);
        let deviation = v.sqrt() * self.inverse_root_correction + self.eps;
        let mut adam = self.step * m / deviation;
        if self.squared {
            adam *= (self.inverse_correction * m / deviation).abs();
        }
        // Not θ (1 − lr λ): in f32 that factor would lose most digits of lr λ.
        *parameter -= adam + self.decay * *parameter;
        (*first, *second) = (m, v);
    }
}

/// `√(Σ g²)` over all `tensors`, accumulated in `f64` in a fixed order.
pub fn global_norm<R: Real>(tensors: &[&[R]]) -> f64 {
    tensors.iter().map(|tensor| sum_of_squares(tensor)).sum::<f64>().sqrt()
}

/// `Σ g²` in `f64`; the order of summation does not depend on the number of threads.
pub fn sum_of_squares<R: Real>(x: &[R]) -> f64 {
    let of_block = |block: &[R]| {
        dispatch(
            #[inline(always)]
            || {
                let mut wide = [0.0f64; 256];
                let squares = block.chunks(wide.len()).map(|part| {
                    wide.iter_mut().zip(part).for_each(|(w, v)| *w = v.to_f64());
                    sum(&wide[..part.len()], |v| v * v)
                });
                squares.sum::<f64>()
            },
        )
    };
    // Collected before it is summed: rayon's own reduction tree depends on the threads.
    x.par_chunks(BLOCK).map(of_block).collect::<Vec<f64>>().into_iter().sum()
}

/// What gradients of norm `norm` must be multiplied by so that their norm is at most `limit`.
///
/// NaN stays NaN, so that a broken gradient is not taken for a small one; an infinite norm gives 0.
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    if norm <= limit { 1.0 } else { limit / norm }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, normals};

    const ADAMW: AdamW =
        AdamW { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.5, squared: false };

    /// By hand, θ = 1 and g = 2, then g = −1. Step 1: m = 0.2, v = 0.04; both corrected give ratio 1, so
    /// θ = 1 − 0.1 (1 + 0.5) = 0.85. Step 2: m = 0.18 − 0.1 = 0.08, v = 0.0396 + 0.01 = 0.0496;
    /// m̂ = 0.08/0.19, v̂ = 0.0496/0.0199, ratio 0.266703, θ = 0.85 − 0.1 (0.266703 + 0.425) = 0.780830.
    #[test]
    fn two_steps_by_hand() {
        let (mut p, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
        ADAMW.step(&mut p, &[2.0], &mut m, &mut v, 1, 1.0);
        assert!((p[0] - 0.85).abs() < 1e-8, "{p:?}");
        ADAMW.step(&mut p, &[-1.0], &mut m, &mut v, 2, 1.0);
        assert!((m[0] - 0.08).abs() < 1e-15 && (v[0] - 0.0496).abs() < 1e-15);
        assert!((p[0] - 0.780_829_7).abs() < 1e-6, "{p:?}");
    }

    /// By hand, the two steps above: ratios 1 and 0.266703, θ = 0.85 and 0.85 − 0.1 (0.071130 + 0.425) = 0.800387.
    #[test]
    fn squared_steps_by_hand() {
        let squared = AdamW { squared: true, ..ADAMW };
        let (mut p, mut m, mut v) = ([1.0f64], [0.0], [0.0]);
        squared.step(&mut p, &[2.0], &mut m, &mut v, 1, 1.0);
        assert!((p[0] - 0.85).abs() < 1e-8, "{p:?}");
        squared.step(&mut p, &[-1.0], &mut m, &mut v, 2, 1.0);
        assert!((p[0] - 0.800_387).abs() < 1e-6, "{p:?}");
    }

    /// The way that 50 steps lead, all told, after 50 others.
    fn way(squared: bool, gradients: [f64; 2]) -> f64 {
        let adamw = AdamW { weight_decay: 0.0, squared, ..ADAMW };
        let (mut p, mut m, mut v, mut way) = ([0.0], [0.0], [0.0], 0.0);
        for t in 1..=100 {
            let before = p[0];
            adamw.step(&mut p, &gradients[t % 2..][..1], &mut m, &mut v, t as u64, 1.0);
            way += if t > 50 { (p[0] - before).abs() } else { 0.0 };
        }
        way
    }

    #[test]
    fn squared_steps_are_as_long_where_gradients_agree_and_short_where_they_do_not() {
        assert!((way(false, [3.0, 3.0]) - 5.0).abs() < 1e-6 && (way(true, [3.0, 3.0]) - 5.0).abs() < 1e-6);
        assert!(way(false, [1.0, -1.0]) > 0.2 && way(true, [1.0, -1.0]) < 0.02);
    }

    fn naive_step(adamw: &AdamW, p: &mut f64, g: f64, m: &mut f64, v: &mut f64, t: i32) {
        *m = adamw.beta1 * *m + (1.0 - adamw.beta1) * g;
        *v = adamw.beta2 * *v + (1.0 - adamw.beta2) * g * g;
        let (m_hat, v_hat) = (*m / (1.0 - adamw.beta1.powi(t)), *v / (1.0 - adamw.beta2.powi(t)));
        let ratio = m_hat / (v_hat.sqrt() + adamw.eps);
        let step = if adamw.squared { ratio * ratio.abs() } else { ratio };
        *p -= adamw.lr * (step + adamw.weight_decay * *p);
    }

    #[test]
    fn matches_the_scalar_equations_over_many_steps() {
        for (n, squared) in [0, 1, 33, 20_000].into_iter().flat_map(|n| [(n, false), (n, true)]) {
            let adamw = AdamW { squared, ..ADAMW };
            let mut p = normals::<f64>(1, n);
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            let mut expected = p.clone();
            let (mut em, mut ev) = (m.clone(), v.clone());
            let mut narrow = convert::<f64, f32>(&p);
            let (mut nm, mut nv) = (vec![0.0f32; n], vec![0.0f32; n]);
            for t in 1..=20 {
                let g = normals::<f64>(1 + t, n);
                adamw.step(&mut p, &g, &mut m, &mut v, t, 0.25);
                adamw.step(&mut narrow, &convert::<f64, f32>(&g), &mut nm, &mut nv, t, 0.25);
                for i in 0..n {
                    naive_step(&adamw, &mut expected[i], 0.25 * g[i], &mut em[i], &mut ev[i], t as i32);
                }
            }
            assert_close("f64", &p, &expected, 1e-13);
            assert_close("f32", &narrow, &expected, 2e-6);
        }
    }

    #[test]
    fn the_norm_spans_tensors_and_clips() {
        let (a, b) = ([3.0f32; 1], [4.0f32; 1]);
        assert_eq!(global_norm(&[&a, &b, &[]]), 5.0);
        assert_eq!((clip_factor(5.0, 1.0), clip_factor(0.5, 1.0), clip_factor(0.0, 1.0)), (0.2, 1.0, 1.0));
        assert!(clip_factor(f64::NAN, 1.0).is_nan());
        assert_eq!(clip_factor(f64::INFINITY, 1.0), 0.0);
        let x = normals::<f32>(9, 100_003);
        let expected: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
        assert!((sum_of_squares(&x) / expected - 1.0).abs() < 1e-13);
    }
}
