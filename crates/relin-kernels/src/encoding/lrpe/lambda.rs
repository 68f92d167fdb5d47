//! Λ: the three one-parameter groups. Each maps `[n, W]` rows to `[n, K']` rows at consecutive positions.

use super::angles::Angles;
use super::config::Pairs;
use super::cycles::Cycles;
use crate::real::Real;

/// One head's Λ with its values.
#[derive(Clone, Debug)]
pub(super) enum Lambda {
    /// `z ↦ e^{itθ} z`, real and imaginary parts side by side; the input is real or already complex.
    Phase { angles: Angles },
    /// Pairs `(a, b)` of features rotated by `tθ_j`.
    Rotation { angles: Angles, pairs: Vec<(usize, usize)> },
    /// `x_i ↦ x_{π^t(i)}`.
    Power { cycles: Cycles },
}

/// The rotated pairs of `rotated` features.
pub(super) fn pairs(layout: Pairs, rotated: usize) -> Vec<(usize, usize)> {
    (0..rotated / 2)
        .map(|j| match layout {
            Pairs::Interleaved => (2 * j, 2 * j + 1),
            Pairs::Half => (j, j + rotated / 2),
        })
        .collect()
}

impl Lambda {
    /// `out_i = Λ^(first + i) x_i`, with `k` the number of (real or complex) features.
    pub(super) fn apply<R: Real>(&self, k: usize, first: i64, x: &[R], out: &mut [R]) {
        match self {
            Self::Phase { angles } if x.len() == out.len() => {
                angles.for_each_row(first, out.len() / (2 * k), |i, cos: &[R], sin| {
                    let (re, im) = x[2 * k * i..][..2 * k].split_at(k);
                    let (out_re, out_im) = out[2 * k * i..][..2 * k].split_at_mut(k);
                    for j in 0..k {
                        out_re[j] = re[j] * cos[j] - im[j] * sin[j];
                        out_im[j] = re[j] * sin[j] + im[j] * cos[j];
                    }
                });
            }
            Self::Phase { angles } => {
                angles.for_each_row(first, x.len() / k, |i, cos: &[R], sin| {
                    let x = &x[k * i..][..k];
                    let (out_re, out_im) = out[2 * k * i..][..2 * k].split_at_mut(k);
                    for j in 0..k {
                        out_re[j] = x[j] * cos[j];
                        out_im[j] = x[j] * sin[j];
                    }
                });
            }
            Self::Rotation { angles, pairs } => {
                out.copy_from_slice(x);
                angles.for_each_row(first, x.len() / k, |i, cos: &[R], sin| {
                    let row = &mut out[k * i..][..k];
                    for (j, &(a, b)) in pairs.iter().enumerate() {
                        (row[a], row[b]) =
                            (row[a] * cos[j] - row[b] * sin[j], row[b] * cos[j] + row[a] * sin[j]);
                    }
                });
            }
            Self::Power { cycles } => {
                let mut power = cycles.power(first);
                for (out, x) in out.chunks_mut(k).zip(x.chunks(k)) {
                    out.iter_mut().zip(&power).for_each(|(out, &i)| *out = x[i]);
                    cycles.advance(&mut power);
                }
            }
        }
    }

    /// `d_x_i = Λ^(first + i)^T d_out_i`; learned angles add `Σ_t t·∂/∂(tθ)` to `d_theta`.
    pub(super) fn vjp<R: Real>(
        &self,
        k: usize,
        first: i64,
        x: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_theta: Option<&mut [f64]>,
    ) {
        match self {
            Self::Phase { angles } => phase_vjp(angles, k, first, x, d_out, d_x, d_theta),
            Self::Rotation { angles, pairs } => rotation_vjp(angles, pairs, k, first, x, d_out, d_x, d_theta),
            Self::Power { cycles } => {
                let mut power = cycles.power(first);
                for (d_x, d_out) in d_x.chunks_mut(k).zip(d_out.chunks(k)) {
                    power.iter().zip(d_out).for_each(|(&i, &d)| d_x[i] = d);
                    cycles.advance(&mut power);
                }
            }
        }
    }

    /// The dense `Λ^(lag)` on `k` features: real part and imaginary part, each `k × k`.
    pub(super) fn dense(&self, k: usize, lag: i64) -> (Vec<f64>, Vec<f64>) {
        let (mut re, mut im) = (vec![0.0; k * k], vec![0.0; k * k]);
        match self {
            Self::Phase { angles } => {
                angles.for_each_row(lag, 1, |_, cos: &[f64], sin| {
                    for j in 0..k {
                        (re[j * k + j], im[j * k + j]) = (cos[j], sin[j]);
                    }
                });
            }
            Self::Rotation { angles, pairs } => {
                (0..k).for_each(|j| re[j * k + j] = 1.0);
                angles.for_each_row(lag, 1, |_, cos: &[f64], sin| {
                    for (j, &(a, b)) in pairs.iter().enumerate() {
                        (re[a * k + a], re[b * k + b]) = (cos[j], cos[j]);
                        (re[a * k + b], re[b * k + a]) = (-sin[j], sin[j]);
                    }
                });
            }
            Self::Power { cycles } => {
                cycles.power(lag).iter().enumerate().for_each(|(i, &j)| re[i * k + j] = 1.0);
            }
        }
        (re, im)
    }
}

fn phase_vjp<R: Real>(
    angles: &Angles,
    k: usize,
    first: i64,
    x: &[R],
    d_out: &[R],
    d_x: &mut [R],
    mut d_theta: Option<&mut [f64]>,
) {
    let rows = d_out.len() / (2 * k);
    let complex = d_x.len() == d_out.len();
    let width = if complex { 2 * k } else { k };
    angles.for_each_row(first, rows, |i, cos: &[R], sin| {
        let x = &x[width * i..][..width];
        let d_x = &mut d_x[width * i..][..width];
        let (d_re, d_im) = d_out[2 * k * i..][..2 * k].split_at(k);
        for j in 0..k {
            d_x[j] = d_re[j] * cos[j] + d_im[j] * sin[j];
        }
        if complex {
            for j in 0..k {
                d_x[k + j] = d_im[j] * cos[j] - d_re[j] * sin[j];
            }
        }
        if let Some(d_theta) = d_theta.as_deref_mut() {
            let t = (first + i as i64) as f64;
            for j in 0..k {
                let imaginary = if complex { x[k + j] } else { R::ZERO };
                let re = x[j] * cos[j] - imaginary * sin[j];
                let im = x[j] * sin[j] + imaginary * cos[j];
                d_theta[j] += t * (d_im[j] * re - d_re[j] * im).to_f64();
            }
        }
    });
}

fn rotation_vjp<R: Real>(
    angles: &Angles,
    pairs: &[(usize, usize)],
    k: usize,
    first: i64,
    x: &[R],
    d_out: &[R],
    d_x: &mut [R],
    mut d_theta: Option<&mut [f64]>,
) {
    d_x.copy_from_slice(d_out);
    angles.for_each_row(first, x.len() / k, |i, cos: &[R], sin| {
        let (x, d) = (&x[k * i..][..k], &mut d_x[k * i..][..k]);
        let t = (first + i as i64) as f64;
        for (j, &(a, b)) in pairs.iter().enumerate() {
            if let Some(d_theta) = d_theta.as_deref_mut() {
                let (out_a, out_b) = (x[a] * cos[j] - x[b] * sin[j], x[b] * cos[j] + x[a] * sin[j]);
                d_theta[j] += t * (d[b] * out_a - d[a] * out_b).to_f64();
            }
            (d[a], d[b]) = (d[a] * cos[j] + d[b] * sin[j], d[b] * cos[j] - d[a] * sin[j]);
        }
    });
}
