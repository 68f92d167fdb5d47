//! Λ: the three one-parameter groups, acting on rows.

use super::angles::Angles;
use super::config::Pairs;
use super::cycles::Cycles;
use crate::encoding::runs;
use crate::real::Real;
use crate::simd::dispatch;

/// One head's Λ with its values.
#[derive(Clone, Debug)]
pub(super) enum Lambda<R> {
    /// `z ↦ e^{itθ} z`, real and imaginary parts side by side.
    Phase { angles: Angles<R> },
    /// Pairs of the first features, two for each angle, rotated by `tθ_j`.
    Rotation { angles: Angles<R>, pairs: Pairs },
    /// `x_i ↦ x_{π^t(i)}`.
    Power { cycles: Cycles, inverse: Cycles },
}

/// Which way a rotation turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// `Λ`.
    Forward,
    /// `Λ^T`.
    Back,
}

/// Turns pairs among the first `2·n` features of rows of `width` elements, row `i` at position `at(i)`, `n` the number
/// of angles.
pub(super) fn rotate<R: Real>(
    angles: &Angles<R>,
    pairs: Pairs,
    turn: Turn,
    at: impl Fn(usize) -> i64,
    width: usize,
    rows: &mut [R],
) {
    dispatch(
        #[inline(always)]
        || {
            angles.for_each_row(
                &at,
                rows.len() / width,
                #[inline(always)]
                |i, cos, sin| rotate_row(pairs, turn, cos, sin, &mut rows[i * width..][..width]),
            );
        },
    );
}

#[inline(always)]
fn rotate_row<R: Real>(pairs: Pairs, turn: Turn, cos: &[R], sin: &[R], row: &mut [R]) {
    let sign = if turn == Turn::Forward { R::ONE } else { -R::ONE };
    let row = &mut row[..2 * cos.len()];
    match pairs {
        Pairs::Interleaved => {
            let (pairs, _) = row.as_chunks_mut::<2>();
            for ((pair, &cos), &sin) in pairs.iter_mut().zip(cos).zip(sin) {
                let ([a, b], sin) = (*pair, sign * sin);
                *pair = [a * cos - b * sin, b * cos + a * sin];
            }
        }
        Pairs::Half => {
            let (left, right) = row.split_at_mut(cos.len());
            let pairs = left.iter_mut().zip(right);
            for (((a, b), &cos), &sin) in pairs.zip(cos).zip(sin) {
                let sin = sign * sin;
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// `x ↦ (x cos tθ, x sin tθ)` for the first `k` elements of rows of `2k`.
pub(super) fn spread_phases<R: Real>(
    angles: &Angles<R>,
    at: impl Fn(usize) -> i64,
    k: usize,
    rows: &mut [R],
) {
    dispatch(
        #[inline(always)]
        || {
            angles.for_each_row(
                &at,
                rows.len() / (2 * k),
                #[inline(always)]
                |i, cos, sin| spread_row(cos, sin, &mut rows[2 * k * i..][..2 * k]),
            );
        },
    );
}

#[inline(always)]
fn spread_row<R: Real>(cos: &[R], sin: &[R], row: &mut [R]) {
    let (re, im) = row.split_at_mut(cos.len());
    for (((re, im), &cos), &sin) in re.iter_mut().zip(im).zip(cos).zip(sin) {
        (*re, *im) = (*re * cos, *re * sin);
    }
}

/// Turns rows that are all at one position, whose angles are found once: pairs of them, or phases if there are none.
pub(super) fn turn_rows<'r, R: Real>(
    angles: &Angles<R>,
    pairs: Option<Pairs>,
    position: i64,
    rows: impl Iterator<Item = &'r mut [R]>,
) {
    let mut rows = Some(rows);
    dispatch(
        #[inline(always)]
        || {
            angles.for_each_row(
                |_| position,
                1,
                #[inline(always)]
                |_, cos, sin| {
                    for row in rows.take().into_iter().flatten() {
                        match pairs {
                            Some(pairs) => rotate_row(pairs, Turn::Forward, cos, sin, row),
                            None => spread_row(cos, sin, row),
                        }
                    }
                },
            );
        },
    );
}

/// The transpose of [`spread_phases`], from rows of `2k` to rows of `k`.
pub(super) fn gather_phases<R: Real>(
    angles: &Angles<R>,
    at: impl Fn(usize) -> i64,
    k: usize,
    d_out: &[R],
    d_x: &mut [R],
) {
    dispatch(
        #[inline(always)]
        || {
            angles.for_each_row(
                &at,
                d_x.len() / k,
                #[inline(always)]
                |i, cos, sin| {
                    let (re, im) = d_out[2 * k * i..][..2 * k].split_at(k);
                    let angles = cos.iter().zip(sin);
                    for (((d, &re), &im), (&cos, &sin)) in
                        d_x[k * i..][..k].iter_mut().zip(re).zip(im).zip(angles)
                    {
                        *d = re * cos + im * sin;
                    }
                },
            );
        },
    );
}

/// Rows over which the gradient of θ is summed in the rows' own precision.
const RUN: usize = 64;

/// Adds `Σ_t t·∂/∂(tθ_j)` to `d_theta`, where `∂/∂(tθ) = d_b·a − d_a·b` for an encoded pair `(a, b)`. `encoded` and
/// `d_out` are rows of `width`, of which the first `2·n` are pairs, n the number of angles.
pub(super) fn theta_gradient<R: Real>(
    pairs: Pairs,
    at: impl Fn(usize) -> i64,
    width: usize,
    encoded: &[R],
    d_out: &[R],
    d_theta: &mut [f64],
) {
    let n = d_theta.len();
    let mut sums = vec![R::ZERO; 2 * n];
    let runs = encoded.chunks(RUN * width).zip(d_out.chunks(RUN * width)).enumerate();
    for (run, (rows, d_rows)) in runs {
        // Weights relative to the run's first position, so that they stay small.
        let (from, first) = (run * RUN, at(run * RUN));
        sums.fill(R::ZERO);
        let (plain, weighted) = sums.split_at_mut(n);
        dispatch(
            #[inline(always)]
            || {
                for (i, (row, d_row)) in rows.chunks(width).zip(d_rows.chunks(width)).enumerate() {
                    let i = R::from_f64((at(from + i) - first) as f64);
                    let (a, d_a) = (&row[..2 * n], &d_row[..2 * n]);
                    match pairs {
                        Pairs::Interleaved => {
                            let (a, d_a) = (a.as_chunks::<2>().0, d_a.as_chunks::<2>().0);
                            let sums = plain.iter_mut().zip(weighted.iter_mut());
                            for ((sums, [a, b]), [d_a, d_b]) in sums.zip(a).zip(d_a) {
                                let d = *d_b * *a - *d_a * *b;
                                *sums.0 += d;
                                *sums.1 += i * d;
                            }
                        }
                        Pairs::Half => {
                            let ((a, b), (d_a, d_b)) = (a.split_at(n), d_a.split_at(n));
                            for j in 0..n {
                                let d = d_b[j] * a[j] - d_a[j] * b[j];
                                plain[j] += d;
                                weighted[j] += i * d;
                            }
                        }
                    }
                }
            },
        );
        for ((d, plain), weighted) in d_theta.iter_mut().zip(&*plain).zip(&*weighted) {
            *d += first as f64 * plain.to_f64() + weighted.to_f64();
        }
    }
}

/// [`permute`] of rows at the positions `at(i)`, run by run.
pub(super) fn permute_at<R: Real>(
    cycles: &Cycles,
    at: impl Fn(usize) -> i64,
    k: usize,
    x: &[R],
    out: &mut [R],
) {
    for (rows, first) in runs(x.len() / k, at) {
        let within = rows.start * k..rows.end * k;
        permute(cycles, first, k, &x[within.clone()], &mut out[within]);
    }
}

/// `out_i = x_{π^t(i)}` for rows of `k` at consecutive positions.
fn permute<R: Real>(cycles: &Cycles, first: i64, k: usize, x: &[R], out: &mut [R]) {
    dispatch(
        #[inline(always)]
        || match k {
            32 => permute_wide::<R, 32>(cycles, first, x, out),
            64 => permute_wide::<R, 64>(cycles, first, x, out),
            128 => permute_wide::<R, 128>(cycles, first, x, out),
            _ => {
                let mut power = cycles.power(first);
                for (out, x) in out.chunks_mut(k).zip(x.chunks(k)) {
                    out.iter_mut().zip(&power).for_each(|(out, &i)| *out = x[i]);
                    cycles.advance(&mut power);
                }
            }
        },
    );
}

/// [`permute`] for the usual widths: where the compiler knows that no index can be out of range, it gathers a register
/// at a time.
#[inline(always)]
fn permute_wide<R: Real, const K: usize>(cycles: &Cycles, first: i64, x: &[R], out: &mut [R]) {
    let narrow = |indices: &[usize]| std::array::from_fn::<u32, K, _>(|i| indices[i] as u32);
    let (mut power, next) = (narrow(&cycles.power(first)), narrow(cycles.next()));
    for (out, x) in out.as_chunks_mut::<K>().0.iter_mut().zip(x.as_chunks::<K>().0) {
        for (out, &i) in out.iter_mut().zip(&power) {
            *out = x[i as usize % K];
        }
        for i in &mut power {
            *i = next[*i as usize % K];
        }
    }
}

/// Permutes rows that are all at one position, in place.
pub(super) fn permute_rows<'r, R: Real>(power: &[usize], rows: impl Iterator<Item = &'r mut [R]>) {
    let mut x = vec![R::ZERO; power.len()];
    for row in rows {
        x.copy_from_slice(row);
        row.iter_mut().zip(power).for_each(|(out, &i)| *out = x[i]);
    }
}

impl Lambda<f64> {
    /// The dense `Λ^(lag)` on `k` features, from its definition: real part and imaginary part, each `k × k`.
    pub(super) fn dense(&self, k: usize, lag: i64) -> (Vec<f64>, Vec<f64>) {
        let (mut re, mut im) = (vec![0.0; k * k], vec![0.0; k * k]);
        match self {
            Self::Phase { angles } => angles.for_each_row(
                |_| lag,
                1,
                |_, cos, sin| {
                    for j in 0..k {
                        (re[j * k + j], im[j * k + j]) = (cos[j], sin[j]);
                    }
                },
            ),
            Self::Rotation { angles, pairs } => {
                (0..k).for_each(|j| re[j * k + j] = 1.0);
                angles.for_each_row(
                    |_| lag,
                    1,
                    |_, cos, sin| {
                        for j in 0..cos.len() {
                            let (a, b) = match pairs {
                                Pairs::Interleaved => (2 * j, 2 * j + 1),
                                Pairs::Half => (j, j + cos.len()),
                            };
                            (re[a * k + a], re[b * k + b]) = (cos[j], cos[j]);
                            (re[a * k + b], re[b * k + a]) = (-sin[j], sin[j]);
                        }
                    },
                );
            }
            Self::Power { cycles, .. } => {
                cycles.power(lag).iter().enumerate().for_each(|(i, &j)| re[i * k + j] = 1.0);
            }
        }
        (re, im)
    }
}
