//! P: the unitary matrix applied before Λ. A bound basis maps `[n, K]` rows to `[n, W]` rows, where `W = K` for
//! a real P and `2K` (real parts, then imaginary parts) for a complex one.

use std::f64::consts::{PI, TAU};

use super::config::{Basis, LrpeConfig};
use crate::encoding::{EncodingError, Place};
use crate::matmul::{Into, Mat, matmul, matmul_strided};
use crate::real::Real;
use crate::reduce::sum2;
use crate::rng::Rng;
use crate::simd::dispatch;

/// One head's P, without the values of learned reflections.
#[derive(Clone, Debug)]
pub(super) enum Head {
    Identity,
    /// `(Px)_i = x_{p(i)}`.
    Permutation(Vec<usize>),
    /// Fixed vectors of the reflections, `[m, K]`, in the order in which they act.
    Reflections(Vec<f64>),
    /// The vectors are the parameters.
    LearnedReflections,
    /// A dense real (`W = K`) or complex (`W = 2K`) matrix, `W × K`.
    Dense(Vec<f64>),
}

impl Head {
    pub(super) fn new(config: &LrpeConfig, place: Place, rng: Rng) -> Result<Self, EncodingError> {
        let k = place.key_dim;
        Ok(match config.basis {
            Basis::Identity => Self::Identity,
            Basis::OddEven => Self::Permutation(odd_even(k)),
            Basis::Permutation => match &config.basis_permutation {
                Some(order) => Self::Permutation(checked_permutation("basis_permutation", order, k)?),
                None => Self::Permutation(rng.permutation(k)),
            },
            Basis::Householder if config.learn_basis => Self::LearnedReflections,
            Basis::Householder => Self::Reflections(initial_reflections(config.reflections, k, rng)),
            Basis::Dct => Self::Dense(dct(k)),
            Basis::Fourier => Self::Dense(fourier(k)),
        })
    }

    /// P as a dense matrix, `W × K`, from its definition.
    pub(super) fn dense(&self, k: usize, learned: &[f64]) -> Vec<f64> {
        match self {
            Self::Identity => permutation_matrix(&(0..k).collect::<Vec<_>>()),
            Self::Permutation(order) => permutation_matrix(order),
            Self::Reflections(vectors) => reflection_matrix(vectors, k),
            Self::LearnedReflections => reflection_matrix(learned, k),
            Self::Dense(matrix) => matrix.clone(),
        }
    }

    pub(super) fn bind<R: Real>(&self, k: usize, learned: &[R]) -> Bound<R> {
        match self {
            Self::Identity => Bound::Identity,
            Self::Permutation(order) => Bound::Permutation(order.clone()),
            Self::Reflections(vectors) => Bound::Reflections(reflectors(vectors.iter().copied(), k)),
            Self::LearnedReflections => Bound::Reflections(reflectors(learned.iter().map(|v| v.to_f64()), k)),
            Self::Dense(matrix) => Bound::Dense(matrix.iter().map(|&x| R::from_f64(x)).collect()),
        }
    }
}

/// Standard normal vectors: where learned reflections start and fixed ones stay.
pub(super) fn initial_reflections(count: usize, k: usize, rng: Rng) -> Vec<f64> {
    (0..count * k).map(|i| rng.normal(i as u64)).collect()
}

pub(super) fn checked_permutation(
    field: &'static str,
    order: &[usize],
    k: usize,
) -> Result<Vec<usize>, EncodingError> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..k) {
        return Ok(order.to_vec());
    }
    let expected = format!("a permutation of 0..{k} (the head size)");
    Err(EncodingError::BadValue { field, expected, found: format!("{order:?}") })
}

/// One reflection: its vector's length and the unit vector.
#[derive(Clone, Debug)]
pub(super) struct Reflector<R> {
    length: f64,
    unit: Vec<R>,
}

fn reflectors<R: Real>(vectors: impl Iterator<Item = f64>, k: usize) -> Vec<Reflector<R>> {
    let vectors: Vec<f64> = vectors.collect();
    let reflector = |v: &[f64]| {
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        Reflector { length, unit: v.iter().map(|x| R::from_f64(x / length)).collect() }
    };
    vectors.chunks(k).map(reflector).collect()
}

/// P with its values.
#[derive(Clone, Debug)]
pub(super) enum Bound<R> {
    Identity,
    Permutation(Vec<usize>),
    Reflections(Vec<Reflector<R>>),
    Dense(Vec<R>),
}

impl<R: Real> Bound<R> {
    /// `out = P x` for each row, at the start of rows that begin `stride` elements apart.
    pub(super) fn apply(&self, k: usize, x: &[R], stride: usize, out: &mut [R]) {
        let rows = x.chunks(k).zip(out.chunks_mut(stride));
        match self {
            Self::Identity => rows.for_each(|(x, out)| out[..k].copy_from_slice(x)),
            Self::Permutation(order) => {
                for (x, out) in rows {
                    out.iter_mut().zip(order).for_each(|(out, &i)| *out = x[i]);
                }
            }
            Self::Reflections(reflectors) => {
                let Some((first, others)) = reflectors.split_first() else {
                    return rows.for_each(|(x, out)| out[..k].copy_from_slice(x));
                };
                reflect_to(&first.unit, x, stride, out);
                others.iter().for_each(|r| reflect(&r.unit, stride, out));
            }
            Self::Dense(matrix) => {
                let (rows, width) = (x.len() / k, matrix.len() / k);
                let (x, p) = (Mat::new(x, rows, k), Mat::new(matrix, width, k));
                matmul_strided(out, stride, Into::Overwrite, x, p.t());
            }
        }
    }

    /// `d = P^T d` for each row, in place, for a real P; learned reflections add their gradient to `d_vectors`.
    pub(super) fn vjp(&self, k: usize, x: &[R], d: &mut [R], d_vectors: Option<&mut [f64]>) {
        match (self, d_vectors) {
            (Self::Identity, _) => {}
            (Self::Permutation(order), _) => {
                let mut row = vec![R::ZERO; k];
                for d in d.chunks_mut(k) {
                    row.copy_from_slice(d);
                    order.iter().zip(&row).for_each(|(&i, &value)| d[i] = value);
                }
            }
            (Self::Reflections(reflectors), None) => {
                reflectors.iter().rev().for_each(|r| reflect(&r.unit, k, d));
            }
            (Self::Reflections(reflectors), Some(d_vectors)) => {
                reflections_vjp(reflectors, k, x, d, d_vectors);
            }
            (Self::Dense(_), _) => {
                let d_out = d.to_vec();
                self.dense_vjp(k, &d_out, d);
            }
        }
    }

    /// `d_x = P^T d_out` for a dense P, real or complex.
    pub(super) fn dense_vjp(&self, k: usize, d_out: &[R], d_x: &mut [R]) {
        let Self::Dense(matrix) = self else { unreachable!("only dense bases are complex") };
        let (rows, width) = (d_x.len() / k, matrix.len() / k);
        matmul(d_x, Into::Overwrite, Mat::new(d_out, rows, width), Mat::new(matrix, width, k));
    }
}

/// `row ← row − 2 u (u·row)` for the first elements of rows that begin `stride` elements apart.
fn reflect<R: Real>(unit: &[R], stride: usize, rows: &mut [R]) {
    dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_mut(stride) {
                reflect_row(unit, row);
            }
        },
    );
}

/// [`reflect`] of the rows of `x`, end to end, into those of `out`.
fn reflect_to<R: Real>(unit: &[R], x: &[R], stride: usize, out: &mut [R]) {
    let k = unit.len();
    dispatch(
        #[inline(always)]
        || {
            for (x, out) in x.chunks(k).zip(out.chunks_mut(stride)) {
                let along = dot(unit, x);
                let twice = along + along;
                for ((out, &x), &u) in out[..k].iter_mut().zip(x).zip(unit) {
                    *out = x - twice * u;
                }
            }
        },
    );
}

#[inline(always)]
fn reflect_row<R: Real>(unit: &[R], row: &mut [R]) {
    let along = dot(unit, row);
    let twice = along + along;
    for (x, &u) in row.iter_mut().zip(unit) {
        *x -= twice * u;
    }
}

#[inline(always)]
fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    sum2(
        a,
        b,
        #[inline(always)]
        |a, b| a * b,
    )
}

/// Reverse sweep through `H_m ⋯ H_1`, row by row, with each reflection's input recomputed.
///
/// For `y = x − 2u(u·x)`: `du = −2[(u·x) dy + (u·dy) x]`, and for `u = v/‖v‖`: `dv = (du − u (u·du))/‖v‖`.
fn reflections_vjp<R: Real>(
    reflectors: &[Reflector<R>],
    k: usize,
    x: &[R],
    d: &mut [R],
    d_vectors: &mut [f64],
) {
    let mut inputs = vec![R::ZERO; reflectors.len() * k];
    let mut d_units = vec![0.0; reflectors.len() * k];
    for (x, d) in x.chunks(k).zip(d.chunks_mut(k)) {
        let mut current = x.to_vec();
        for (r, input) in reflectors.iter().zip(inputs.chunks_mut(k)) {
            input.copy_from_slice(&current);
            reflect_row(&r.unit, &mut current);
        }
        for (m, r) in reflectors.iter().enumerate().rev() {
            let (input, d_unit) = (&inputs[m * k..][..k], &mut d_units[m * k..][..k]);
            let (ux, ud) = (dot(&r.unit, input).to_f64(), dot(&r.unit, d).to_f64());
            for i in 0..k {
                d_unit[i] -= 2.0 * (ux * d[i].to_f64() + ud * input[i].to_f64());
            }
            reflect_row(&r.unit, d);
        }
    }
    for ((r, d_unit), d_vector) in reflectors.iter().zip(d_units.chunks(k)).zip(d_vectors.chunks_mut(k)) {
        let along: f64 = r.unit.iter().zip(d_unit).map(|(u, d)| u.to_f64() * d).sum();
        for i in 0..k {
            d_vector[i] += (d_unit[i] - r.unit[i].to_f64() * along) / r.length;
        }
    }
}

fn odd_even(k: usize) -> Vec<usize> {
    let half = k.div_ceil(2);
    (0..k).map(|i| if i % 2 == 0 { i / 2 } else { half + i / 2 }).collect()
}

fn permutation_matrix(order: &[usize]) -> Vec<f64> {
    let k = order.len();
    let mut matrix = vec![0.0; k * k];
    order.iter().enumerate().for_each(|(i, &j)| matrix[i * k + j] = 1.0);
    matrix
}

fn reflection_matrix(vectors: &[f64], k: usize) -> Vec<f64> {
    let mut product = permutation_matrix(&(0..k).collect::<Vec<_>>());
    for v in vectors.chunks(k) {
        let square: f64 = v.iter().map(|x| x * x).sum();
        let h: Vec<f64> = (0..k * k)
            .map(|at| f64::from(u8::from(at / k == at % k)) - 2.0 * v[at / k] * v[at % k] / square)
            .collect();
        let former = product.clone();
        matmul(&mut product, Into::Overwrite, Mat::new(&h, k, k), Mat::new(&former, k, k));
    }
    product
}

/// `D_{jn} = s_j cos(π j (n + ½) / K)`, `s_0 = √(1/K)`, `s_j = √(2/K)`.
fn dct(k: usize) -> Vec<f64> {
    let entry = |at: usize| {
        let (j, n) = (at / k, at % k);
        let scale = if j == 0 { 1.0 } else { 2.0 };
        (scale / k as f64).sqrt() * (PI * j as f64 * (n as f64 + 0.5) / k as f64).cos()
    };
    (0..k * k).map(entry).collect()
}

/// `F_{jn} = e^{−2πi jn/K} / √K`, real parts above imaginary parts.
fn fourier(k: usize) -> Vec<f64> {
    let entry = |at: usize| {
        let (row, n) = (at / k, at % k);
        let angle = TAU * ((row % k) * n % k) as f64 / k as f64;
        (if row < k { angle.cos() } else { -angle.sin() }) / (k as f64).sqrt()
    };
    (0..2 * k * k).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_even_interleaves_the_halves() {
        assert_eq!(odd_even(4), [0, 2, 1, 3]);
        assert_eq!(odd_even(5), [0, 3, 1, 4, 2]);
        assert_eq!(odd_even(6), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn dense_bases_are_unitary() {
        for k in [1, 2, 5, 8] {
            for matrix in
                [dct(k), fourier(k), reflection_matrix(&initial_reflections(3, k, Rng::new(1, 2)), k)]
            {
                let width = matrix.len() / k;
                let mut gram = vec![0.0; k * k];
                let p = Mat::new(&matrix, width, k);
                matmul(&mut gram, Into::Overwrite, p.t(), p);
                for at in 0..k * k {
                    let expected = f64::from(u8::from(at / k == at % k));
                    assert!((gram[at] - expected).abs() < 1e-12, "K = {k}");
                }
            }
        }
    }
}
