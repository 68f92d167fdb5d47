//! LRPE: `W_s = P^H Λ^(s) P` with P unitary and Λ one of three one-parameter groups; the maps are `M_s = Λ^(s) P`.
//!
//! | family | `Λ^(s)` | `K'` | symmetry of `W` in the lag |
//! |---|---|---|---|
//! | unitary | `diag(e^{isθ})`, real part of the score | 2K | even when P is real: cannot tell left from right |
//! | orthogonal | rotations by `sθ_j` | K | `W_{−Δ} = W_Δ^T` |
//! | permutation | `Π^s` | K | `W_{−Δ} = W_Δ^T`, periodic |
//!
//! # Reference
//! arXiv 2307.09270, Solutions 1–3. `P` is the paper's P, [`Family`] its Λ; the left factor `P^H` cancels in the
//! score and is never applied.

mod angles;
mod basis;
mod config;
mod cycles;
mod lambda;

pub use config::{Basis, Cycle, Family, LrpeConfig, Pairs, Rotated, Spacing};
pub use cycles::Cycles;

use std::f64::consts::TAU;

use super::{Encoder, Encoding, EncodingError, Parameter, Place, Side};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::rng::Rng;
use angles::{Angles, geometric, linear};
use lambda::{
    Lambda, Turn, gather_phases, permute_at, permute_rows, rotate, spread_phases, theta_gradient, turn_rows,
};

/// Streams of the seed: what is drawn for P is independent of what is drawn for Λ.
const BASIS_STREAM: u64 = 1;
const CYCLE_STREAM: u64 = 2;

/// A built member of the family.
#[derive(Clone, Debug)]
pub struct Lrpe {
    config: LrpeConfig,
    key_dim: usize,
    /// One entry if the heads share everything, else one a head.
    heads: Vec<Head>,
    initial_theta: Vec<f64>,
    initial_reflections: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Head {
    basis: basis::Head,
    core: Core,
}

/// Λ before the values of learned angles are known.
#[derive(Clone, Debug)]
enum Core {
    Phase { theta: Vec<f64> },
    Rotation { theta: Vec<f64>, pairs: Pairs },
    Power { cycles: Cycles },
}

impl Lrpe {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If the configuration contradicts itself or the width; see [`EncodingError`].
    pub fn new(config: &LrpeConfig, place: Place) -> Result<Self, EncodingError> {
        let k = place.key_dim;
        config.check(k)?;
        let sharers = if config.per_head { place.heads } else { 1 };
        let frequencies = frequencies(config, k);
        let theta = initial_theta(config, frequencies, sharers)?;
        let mut heads = Vec::new();
        let mut initial_reflections = Vec::new();
        for head in 0..sharers {
            let stream = |purpose: u64| (place.layer as u64) << 32 | (head as u64) << 8 | purpose;
            let basis_rng = Rng::new(config.seed, stream(BASIS_STREAM));
            let basis = basis::Head::new(config, place, basis_rng)?;
            if config.learn_basis {
                initial_reflections.extend(basis::initial_reflections(config.reflections, k, basis_rng));
            }
            let theta = theta[head * frequencies..][..frequencies].to_vec();
            let core = match config.family {
                Family::Unitary => Core::Phase { theta },
                Family::Orthogonal => Core::Rotation { theta, pairs: config.pairs },
                Family::Permutation => {
                    Core::Power { cycles: cycles(config, k, Rng::new(config.seed, stream(CYCLE_STREAM)))? }
                }
            };
            heads.push(Head { basis, core });
        }
        let initial_theta = if config.learn_theta { theta } else { Vec::new() };
        Ok(Self { config: config.clone(), key_dim: k, heads, initial_theta, initial_reflections })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &LrpeConfig {
        &self.config
    }

    /// The permutation behind the family `permutation`, of one head.
    pub fn cycles(&self, head: usize) -> Option<&Cycles> {
        match &self.head(head).core {
            Core::Power { cycles } => Some(cycles),
            _ => None,
        }
    }

    fn head(&self, head: usize) -> &Head {
        &self.heads[self.sharer(head)]
    }

    fn sharer(&self, head: usize) -> usize {
        if self.heads.len() == 1 { 0 } else { head }
    }

    /// Splits flat parameters into one sharer's angles and reflection vectors (either may be empty).
    fn split<'a, R>(&self, params: &'a [R], sharer: usize) -> (&'a [R], &'a [R]) {
        let (thetas, vectors) = params.split_at(self.initial_theta.len());
        let row = |flat: &'a [R]| {
            let width = flat.len() / self.heads.len();
            &flat[sharer * width..][..width]
        };
        (row(thetas), row(vectors))
    }

    fn lambda<L: Real, R: Real>(&self, head: &Head, learned_theta: &[L]) -> Lambda<R> {
        let angles = |theta: &[f64]| match learned_theta {
            [] => Angles::new(theta),
            learned => Angles::new(&learned.iter().map(|t| t.to_f64()).collect::<Vec<_>>()),
        };
        match &head.core {
            Core::Phase { theta } => Lambda::Phase { angles: angles(theta) },
            Core::Rotation { theta, pairs } => Lambda::Rotation { angles: angles(theta), pairs: *pairs },
            Core::Power { cycles } => Lambda::Power { cycles: cycles.clone(), inverse: cycles.inverse() },
        }
    }
}

/// Number of angles a head has.
fn frequencies(config: &LrpeConfig, k: usize) -> usize {
    match (config.family, config.rotated) {
        (Family::Unitary, _) => k,
        (Family::Orthogonal, Rotated::All) => k / 2,
        (Family::Orthogonal, Rotated::Half) => (k / 2).div_ceil(2),
        (Family::Permutation, _) => 0,
    }
}

/// The given angles, or a geometric progression through those of all sharers, or the same even ones for each.
fn initial_theta(config: &LrpeConfig, frequencies: usize, sharers: usize) -> Result<Vec<f64>, EncodingError> {
    let n = frequencies * sharers;
    let Some(theta) = &config.theta else {
        let span = if config.family == Family::Unitary { 2.0 } else { 1.0 };
        return Ok(match config.spacing {
            Spacing::Geometric => geometric(config.theta_base, span, n),
            Spacing::Linear => (0..n).map(|at| linear(at % frequencies, frequencies)).collect(),
            Spacing::Cyclic => {
                (0..n).map(|at| TAU * (at % frequencies) as f64 / frequencies as f64).collect()
            }
        });
    };
    if theta.len() != n || !theta.iter().all(|t| t.is_finite()) {
        let expected = format!("{n} finite angles ({frequencies} for each of {sharers} sharers)");
        return Err(EncodingError::BadValue { field: "theta", expected, found: format!("{theta:?}") });
    }
    Ok(theta.clone())
}

fn cycles(config: &LrpeConfig, k: usize, rng: Rng) -> Result<Cycles, EncodingError> {
    let Some(order) = &config.permutation else {
        return Ok(Cycles::draw(config.cycle, k, rng));
    };
    let order = basis::checked_permutation("permutation", order, k)?;
    Ok(Cycles::new(order).expect("checked to be a permutation"))
}

impl<R: Real> Encoding<R> for Lrpe {
    fn key_dim(&self) -> usize {
        self.key_dim
    }

    fn encoded_dim(&self) -> usize {
        match self.config.family {
            Family::Unitary => 2 * self.key_dim,
            Family::Orthogonal | Family::Permutation => self.key_dim,
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        let sharers = self.heads.len();
        let mut parameters = Vec::new();
        if self.config.learn_theta {
            let shape = vec![sharers, self.initial_theta.len() / sharers];
            let init = self.initial_theta.clone();
            parameters.push(Parameter { name: "theta", shape, init, multiplies_position: true });
        }
        if self.config.learn_basis {
            let shape = vec![sharers, self.config.reflections, self.key_dim];
            let init = self.initial_reflections.clone();
            parameters.push(Parameter { name: "reflections", shape, init, multiplies_position: false });
        }
        parameters
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        let bind = |(sharer, head): (usize, &Head)| {
            let (theta, vectors) = self.split(params, sharer);
            BoundHead { basis: head.basis.bind(self.key_dim, vectors), lambda: self.lambda(head, theta) }
        };
        Box::new(BoundLrpe {
            key_dim: self.key_dim,
            complex: self.config.basis == Basis::Fourier,
            theta_len: self.initial_theta.len(),
            heads: self.heads.iter().enumerate().map(bind).collect(),
        })
    }

    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let k = self.key_dim;
        let (theta, vectors) = self.split(params, self.sharer(head));
        let vectors: Vec<f64> = vectors.iter().map(|v| v.to_f64()).collect();
        let p = self.head(head).basis.dense(k, &vectors);
        let (re, im) = self.lambda::<R, f64>(self.head(head), theta).dense(k, lag);
        let (p_re, p_im) = p.split_at(k * k);
        let mut w = sandwich(p_re, &re, p_re, k);
        if !p_im.is_empty() {
            // Re[(A − iB)^T (C + iS) (A + iB)] for P = A + iB and Λ = C + iS.
            add(&mut w, 1.0, &sandwich(p_im, &re, p_im, k));
            add(&mut w, 1.0, &sandwich(p_im, &im, p_re, k));
            add(&mut w, -1.0, &sandwich(p_re, &im, p_im, k));
        }
        w
    }
}

/// `left^T middle right`, all `k × k`.
fn sandwich(left: &[f64], middle: &[f64], right: &[f64], k: usize) -> Vec<f64> {
    let (mut inner, mut outer) = (vec![0.0; k * k], vec![0.0; k * k]);
    matmul(&mut inner, Into::Overwrite, Mat::new(middle, k, k), Mat::new(right, k, k));
    matmul(&mut outer, Into::Overwrite, Mat::new(left, k, k).t(), Mat::new(&inner, k, k));
    outer
}

fn add(into: &mut [f64], factor: f64, other: &[f64]) {
    into.iter_mut().zip(other).for_each(|(a, b)| *a += factor * b);
}

#[derive(Debug)]
struct BoundLrpe<R> {
    key_dim: usize,
    /// True if P is complex: its result is then `2K` wide.
    complex: bool,
    /// Scalars of the flat parameters that are angles; the rest are reflection vectors.
    theta_len: usize,
    heads: Vec<BoundHead<R>>,
}

#[derive(Debug)]
struct BoundHead<R> {
    basis: basis::Bound<R>,
    lambda: Lambda<R>,
}

impl<R: Real> BoundLrpe<R> {
    fn sharer(&self, head: usize) -> usize {
        if self.heads.len() == 1 { 0 } else { head }
    }

    /// `out_i = M_{at(i)} x_i`.
    fn encode_rows(&self, head: usize, at: impl Fn(usize) -> i64, x: &[R], out: &mut [R]) {
        let k = self.key_dim;
        let BoundHead { basis, lambda } = &self.heads[self.sharer(head)];
        match lambda {
            Lambda::Phase { angles } => {
                basis.apply(k, x, 2 * k, out);
                match self.complex {
                    true => rotate(angles, Pairs::Half, Turn::Forward, at, 2 * k, out),
                    false => spread_phases(angles, at, k, out),
                }
            }
            Lambda::Rotation { angles, pairs } => {
                basis.apply(k, x, k, out);
                rotate(angles, *pairs, Turn::Forward, at, k, out);
            }
            Lambda::Power { cycles, .. } if matches!(basis, basis::Bound::Identity) => {
                permute_at(cycles, at, k, x, out);
            }
            Lambda::Power { cycles, .. } => {
                let mut inner = vec![R::ZERO; x.len()];
                basis.apply(k, x, k, &mut inner);
                permute_at(cycles, at, k, &inner, out);
            }
        }
    }

    fn vjp_rows(
        &self,
        head: usize,
        at: impl Fn(usize) -> i64,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let k = self.key_dim;
        let sharer = self.sharer(head);
        let BoundHead { basis, lambda } = &self.heads[sharer];
        let (d_thetas, d_vectors) = d_params.split_at_mut(self.theta_len);
        if let Some(d_theta) = gradient_row(d_thetas, self.heads.len(), sharer) {
            let (pairs, width) = match lambda {
                Lambda::Rotation { pairs, .. } => (*pairs, k),
                _ => (Pairs::Half, 2 * k),
            };
            theta_gradient(pairs, &at, width, encoded, d_out, d_theta);
        }
        match lambda {
            Lambda::Phase { angles } if self.complex => {
                let mut d_inner = d_out.to_vec();
                rotate(angles, Pairs::Half, Turn::Back, at, 2 * k, &mut d_inner);
                return basis.dense_vjp(k, &d_inner, d_x);
            }
            Lambda::Phase { angles } => gather_phases(angles, at, k, d_out, d_x),
            Lambda::Rotation { angles, pairs } => {
                d_x.copy_from_slice(d_out);
                rotate(angles, *pairs, Turn::Back, at, k, d_x);
            }
            Lambda::Power { inverse, .. } => permute_at(inverse, at, k, d_out, d_x),
        }
        basis.vjp(k, x, d_x, gradient_row(d_vectors, self.heads.len(), sharer));
    }
}

impl<R: Real> Encoder<R> for BoundLrpe<R> {
    fn encode(&self, _side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        self.encode_rows(head, |i| position + i as i64, x, out);
    }

    fn encode_at(&self, _side: Side, head: usize, positions: &[i64], x: &[R], out: &mut [R]) {
        self.encode_rows(head, |i| positions[i], x, out);
    }

    /// Angles and powers are found once for both rows of a head, or of all heads that share them.
    fn encode_token(&self, heads: usize, position: i64, x: [&[R]; 2], out: [&mut [R]; 2]) {
        let (k, width) = (self.key_dim, out[0].len() / heads);
        let [mut queries, mut keys] = out;
        for (sharer, BoundHead { basis, lambda }) in self.heads.iter().enumerate() {
            let of_sharer = if self.heads.len() == 1 { 0..heads } else { sharer..sharer + 1 };
            let x = x.map(|x| &x[of_sharer.start * k..of_sharer.end * k]);
            let out =
                [&mut queries, &mut keys].map(|out| &mut out[of_sharer.start * width..of_sharer.end * width]);
            let rows = x.into_iter().zip(out).flat_map(|(x, out)| {
                basis.apply(k, x, width, out);
                out.chunks_mut(width)
            });
            match lambda {
                Lambda::Phase { angles } => {
                    turn_rows(angles, self.complex.then_some(Pairs::Half), position, rows);
                }
                Lambda::Rotation { angles, pairs } => turn_rows(angles, Some(*pairs), position, rows),
                Lambda::Power { cycles, .. } => permute_rows(&cycles.power(position), rows),
            }
        }
    }

    fn vjp(
        &self,
        _side: Side,
        head: usize,
        position: i64,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        self.vjp_rows(head, |i| position + i as i64, x, encoded, d_out, d_x, d_params);
    }

    fn vjp_at(
        &self,
        _side: Side,
        head: usize,
        positions: &[i64],
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        self.vjp_rows(head, |i| positions[i], x, encoded, d_out, d_x, d_params);
    }
}

fn gradient_row(flat: &mut [f64], sharers: usize, sharer: usize) -> Option<&mut [f64]> {
    let width = flat.len() / sharers;
    (width > 0).then(|| &mut flat[sharer * width..][..width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourier_phases_once_around_are_a_cyclic_shift() {
        let (k, basis) = (6, Basis::Fourier);
        let config = LrpeConfig { basis, spacing: Spacing::Cyclic, ..LrpeConfig::default() };
        let encoding = Lrpe::new(&config, Place { key_dim: k, heads: 1, layer: 0 }).unwrap();
        let shift_of = |lag: i64| {
            let w = Encoding::<f64>::kernel(&encoding, &[], 0, lag);
            let of_row = |row: &[f64]| row.iter().position(|x| (x - 1.0).abs() < 1e-12).unwrap();
            let shift = of_row(&w[..k]);
            for (i, row) in w.chunks(k).enumerate() {
                let expected = |j: usize| f64::from(u8::from(j == (i + shift) % k));
                assert!(row.iter().enumerate().all(|(j, x)| (x - expected(j)).abs() < 1e-12), "lag {lag}");
            }
            shift
        };
        let one = shift_of(1);
        assert!(one == 1 || one == k - 1);
        (0..20).for_each(|lag| assert_eq!(shift_of(lag), one * lag as usize % k));
    }
}
