//! The mean over the tokens of each sequence; padding does not count.

use rayon::prelude::*;

use crate::real::Real;
use crate::simd::dispatch;

/// `out_b = 1/len_b Σ_{t < len_b} x_{b,t}`, 0 for an empty sequence.
///
/// # Shapes
/// - `x`: `[B, T, D]`; `lens`: `B` lengths up to T; `out`: `[B, D]`, overwritten
///
/// # Panics
/// If the sizes do not agree.
pub fn mean<R: Real>(out: &mut [R], x: &[R], lens: &[usize], width: usize) {
    let sequence = sequence_len(x, out, lens, width);
    let rows = out.par_chunks_mut(width).zip(x.par_chunks(sequence)).zip(lens);
    rows.for_each(|((out, x), &len)| {
        out.fill(R::ZERO);
        let share = share::<R>(len);
        dispatch(
            #[inline(always)]
            || {
                for x in x[..len * width].chunks_exact(width) {
                    out.iter_mut().zip(x).for_each(|(out, &x)| *out += x);
                }
                out.iter_mut().for_each(|out| *out *= share);
            },
        );
    });
}

/// The gradient of [`mean`]: `dx_{b,t} = 1/len_b d_out_b`, 0 for padding.
///
/// # Panics
/// If the sizes do not agree.
pub fn mean_vjp<R: Real>(dx: &mut [R], d_out: &[R], lens: &[usize], width: usize) {
    let sequence = sequence_len(dx, d_out, lens, width);
    let rows = dx.par_chunks_mut(sequence).zip(d_out.par_chunks(width)).zip(lens);
    rows.for_each(|((dx, d_out), &len)| {
        let (tokens, padding) = dx.split_at_mut(len * width);
        padding.fill(R::ZERO);
        let share = share::<R>(len);
        dispatch(
            #[inline(always)]
            || {
                for dx in tokens.chunks_exact_mut(width) {
                    dx.iter_mut().zip(d_out).for_each(|(dx, &d)| *dx = share * d);
                }
            },
        );
    });
}

fn share<R: Real>(len: usize) -> R {
    R::from_f64(1.0 / len.max(1) as f64)
}

/// T·D.
fn sequence_len<R>(x: &[R], means: &[R], lens: &[usize], width: usize) -> usize {
    assert_eq!(means.len(), lens.len() * width, "{} means of width {width}", lens.len());
    let sequence = x.len() / lens.len().max(1);
    let longest = lens.iter().max().copied().unwrap_or(0);
    let fits = x.len() == sequence * lens.len() && longest * width <= sequence;
    assert!(fits, "{} sequences of up to {longest} tokens in {} elements", lens.len(), x.len());
    sequence.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, normals};

    #[test]
    fn padding_counts_for_nothing_and_may_be_anything() {
        let mut x = [1.0, 2.0, 3.0, 6.0, f64::NAN, f64::NAN, 5.0, 7.0, 0.0, 0.0, 1.0, 2.0];
        let mut out = [f64::NAN; 4];
        mean(&mut out, &x, &[2, 3], 2);
        assert_eq!(out, [2.0, 4.0, 2.0, 3.0]);
        mean_vjp(&mut x, &[2.0, 4.0, 3.0, 6.0], &[2, 3], 2);
        assert_eq!(x, [1.0, 2.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        mean(&mut out, &x, &[0, 1], 2);
        assert_eq!(out, [0.0, 0.0, 1.0, 2.0], "an empty sequence has no mean");
    }

    /// The map is linear: `⟨mean x, d⟩ = ⟨x, vjp d⟩` says that the gradient is right.
    #[test]
    fn the_gradient_is_the_transpose() {
        let (lens, width, time) = ([5, 1, 3, 4], 19, 5);
        let (x, d) = (normals::<f64>(1, 4 * time * width), normals::<f64>(2, 4 * width));
        let (mut out, mut dx) = (vec![f64::NAN; d.len()], vec![f64::NAN; x.len()]);
        mean(&mut out, &x, &lens, width);
        mean_vjp(&mut dx, &d, &lens, width);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert_close("product", &[dot(&out, &d)], &[dot(&x, &dx)], 1e-13);
    }
}
