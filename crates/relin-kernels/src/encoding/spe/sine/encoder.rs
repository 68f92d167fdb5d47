//! sineSPE bound to its parameters: blocks of rows through sines and cosines, then through the noise.

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::{SineSpe, SineSpeConfig, Waves};
use crate::encoding::spe::phases::Phases;
use crate::encoding::spe::{NoiseMode, sigmoid, softplus};
use crate::encoding::{Encoder, Place, Side};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::simd::dispatch;

/// Rows treated at once: their features fit the second-level cache.
const BLOCK: usize = 64;

#[derive(Debug)]
pub(super) struct Bound<R> {
    config: SineSpeConfig,
    place: Place,
    inner_dim: usize,
    encoded_dim: usize,
    heads: Vec<Head<R>>,
}

#[derive(Debug)]
struct Head<R> {
    waves: Waves,
    query: Phases,
    key: Phases,
    projection: Projection<R>,
}

#[derive(Debug)]
enum Projection<R> {
    /// `diag(a) Z`.
    Noise(Vec<R>),
    /// `a`.
    Diagonal(Vec<R>),
}

impl<R: Real> Head<R> {
    /// `noise` as [`SineSpe::draw_noise`] gives it.
    fn new(encoding: &SineSpe, params: &[R], head: usize, noise: impl FnOnce() -> Vec<R>) -> Self {
        let waves = encoding.waves_of(params, head);
        let amplitudes = encoding.amplitudes(&waves);
        let projection = match encoding.config.noise {
            NoiseMode::Exact => Projection::Diagonal(amplitudes.iter().map(|&a| R::from_f64(a)).collect()),
            NoiseMode::Redrawn | NoiseMode::Frozen => {
                let mut z = noise();
                for (row, &a) in z.chunks_mut(encoding.config.realizations).zip(&amplitudes) {
                    row.iter_mut().for_each(|z| *z *= R::from_f64(a));
                }
                Projection::Noise(z)
            }
        };
        let frequencies = waves.frequencies();
        Self {
            query: Phases::new(frequencies.clone(), waves.offsets.clone()),
            key: Phases::new(frequencies, vec![0.0; encoding.waves()]),
            waves,
            projection,
        }
    }

    fn phases(&self, side: Side) -> &Phases {
        match side {
            Side::Query => &self.query,
            Side::Key => &self.key,
        }
    }
}

impl<R: Real> Projection<R> {
    /// `out = u · diag(a) Z`.
    fn apply(&self, inner_dim: usize, u: &[R], out: &mut [R]) {
        let rows = u.len() / inner_dim;
        match self {
            Self::Noise(z) => {
                let r = z.len() / inner_dim;
                matmul(out, Into::Overwrite, Mat::new(u, rows, inner_dim), Mat::new(z, inner_dim, r));
            }
            Self::Diagonal(a) => multiply_rows(u, a, out),
        }
    }

    /// `d_u = d_out · (diag(a) Z)^T`.
    fn vjp(&self, inner_dim: usize, d_out: &[R], d_u: &mut [R]) {
        let rows = d_u.len() / inner_dim;
        match self {
            Self::Noise(z) => {
                let r = z.len() / inner_dim;
                matmul(d_u, Into::Overwrite, Mat::new(d_out, rows, r), Mat::new(z, inner_dim, r).t());
            }
            Self::Diagonal(a) => multiply_rows(d_out, a, d_u),
        }
    }
}

fn multiply_rows<R: Real>(x: &[R], by: &[R], out: &mut [R]) {
    for (x, out) in x.chunks(by.len()).zip(out.chunks_mut(by.len())) {
        x.iter().zip(by).zip(out).for_each(|((&x, &by), out)| *out = x * by);
    }
}

/// Calls `block(first row, rows)` for runs of at most [`BLOCK`] rows.
fn for_each_block(rows: usize, mut block: impl FnMut(usize, usize)) {
    (0..rows).step_by(BLOCK).for_each(|from| block(from, BLOCK.min(rows - from)));
}

impl<R: Real> Bound<R> {
    pub fn new(encoding: &SineSpe, params: &[R], noise: impl Fn(usize) -> Vec<R> + Sync) -> Self {
        let head = |head: usize| Head::new(encoding, params, head, || noise(head));
        let heads = (0..encoding.place.heads).into_par_iter().map(head).collect();
        let SineSpe { config, place, .. } = encoding.clone();
        Self { config, place, inner_dim: encoding.inner_dim(), encoded_dim: encoding.width(), heads }
    }

    /// `u` for a block of rows, and nothing of the parts that the noise makes.
    fn fill(&self, phases: &Phases, position: i64, x: &[R], u: &mut [R]) {
        let (k, n) = (self.place.key_dim, self.place.key_dim * self.config.sines);
        let mut at = phases.at(position);
        for (x, u) in x.chunks(k).zip(u.chunks_mut(self.inner_dim)) {
            let (cos, rest) = u.split_at_mut(n);
            let (sin, constant) = rest.split_at_mut(n);
            dispatch(
                #[inline(always)]
                || {
                    for (out, phases) in [(cos, &at.cos), (sin, &at.sin)] {
                        for (out, phases) in out.chunks_exact_mut(k).zip(phases.chunks_exact(k)) {
                            for ((out, &phase), &x) in out.iter_mut().zip(phases).zip(x) {
                                *out = x * R::from_f64(phase);
                            }
                        }
                    }
                },
            );
            if !constant.is_empty() {
                constant.copy_from_slice(x);
            }
            phases.advance(&mut at);
        }
    }

    /// From `u`, `d_u` of a block to `d_x`, and sums for the parameters. A block's own sums are formed in its precision.
    fn pull_back(&self, phases: &Phases, position: i64, u: &[R], d_u: &[R], d_x: &mut [R], sums: &mut Sums) {
        let (k, n) = (self.place.key_dim, self.place.key_dim * self.config.sines);
        let mut at = phases.at(position);
        let [mut phase, mut later, mut log_gain] = std::array::from_fn(|_| vec![R::ZERO; n]);
        let rows = d_x.chunks_mut(k).zip(u.chunks(self.inner_dim).zip(d_u.chunks(self.inner_dim)));
        for (i, (d_x, (u, d_u))) in rows.enumerate() {
            d_x.fill(R::ZERO);
            let i = R::from_f64(i as f64);
            dispatch(
                #[inline(always)]
                || {
                    for from in (0..n).step_by(k) {
                        let ((u_cos, u_sin), (d_cos, d_sin)) =
                            (halves(u, n, from, k), halves(d_u, n, from, k));
                        let (cos, sin) = (&at.cos[from..][..k], &at.sin[from..][..k]);
                        let d_x = &mut d_x[..k];
                        let (phase, later) = (&mut phase[from..][..k], &mut later[from..][..k]);
                        let log_gain = &mut log_gain[from..][..k];
                        for d in 0..k {
                            d_x[d] += d_cos[d] * R::from_f64(cos[d]) + d_sin[d] * R::from_f64(sin[d]);
                            let d_phase = d_sin[d] * u_cos[d] - d_cos[d] * u_sin[d];
                            phase[d] += d_phase;
                            later[d] += i * d_phase;
                            log_gain[d] += d_cos[d] * u_cos[d] + d_sin[d] * u_sin[d];
                        }
                    }
                },
            );
            for d in 0..self.inner_dim - 2 * n {
                d_x[d] += d_u[2 * n + d];
                sums.log_constant[d] += (d_u[2 * n + d] * u[2 * n + d]).to_f64();
            }
            phases.advance(&mut at);
        }
        for wave in 0..n {
            sums.phase[wave] += phase[wave].to_f64();
            sums.position[wave] += position as f64 * phase[wave].to_f64() + later[wave].to_f64();
            sums.log_gain[wave] += log_gain[wave].to_f64();
        }
    }

    /// From the sums to the parameters themselves.
    fn add_parameter_gradients(&self, side: Side, head: usize, sums: &Sums, d_params: &mut [f64]) {
        let (k, sines) = (self.place.key_dim, self.config.sines);
        let (n, waves) = (k * sines, &self.heads[head].waves);
        let size = self.place.heads * n;
        for wave in 0..n {
            let at = head * n + wave % k * sines + wave / k;
            let f = sigmoid(waves.raw_frequencies[wave]);
            d_params[at] += 0.5 * f * (1.0 - f) * TAU * sums.position[wave];
            if side == Side::Query {
                d_params[size + at] += sums.phase[wave];
            }
            let raw = waves.raw_gains[wave];
            d_params[2 * size + at] +=
                sums.log_gain[wave] * sigmoid(raw) / softplus(raw).max(f64::MIN_POSITIVE);
        }
        if self.config.gated {
            for d in 0..k {
                let positional = (0..sines).map(|s| sums.log_gain[s * k + d]).sum();
                d_params[3 * size + head * k + d] +=
                    waves.gates.raw_gradient(d, positional, sums.log_constant[d]);
            }
        }
    }
}

/// The parts of a row of `u` that the cosines and the sines of `k` waves made.
#[inline(always)]
fn halves<R>(u: &[R], n: usize, from: usize, k: usize) -> (&[R], &[R]) {
    (&u[from..][..k], &u[n + from..][..k])
}

/// Sums over rows: gradients for the phases, for the phases times the position, for the logarithms of amplitudes.
struct Sums {
    phase: Vec<f64>,
    position: Vec<f64>,
    log_gain: Vec<f64>,
    log_constant: Vec<f64>,
}

impl<R: Real> Encoder<R> for Bound<R> {
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        let (k, inner, encoded) = (self.place.key_dim, self.inner_dim, self.encoded_dim);
        let bound = &self.heads[head];
        let mut u = vec![R::ZERO; BLOCK.min(x.len() / k) * inner];
        for_each_block(x.len() / k, |from, rows| {
            let u = &mut u[..rows * inner];
            self.fill(bound.phases(side), position + from as i64, &x[from * k..][..rows * k], u);
            bound.projection.apply(inner, u, &mut out[from * encoded..][..rows * encoded]);
        });
    }

    fn vjp(
        &self,
        side: Side,
        head: usize,
        position: i64,
        x: &[R],
        _encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let (k, inner, encoded) = (self.place.key_dim, self.inner_dim, self.encoded_dim);
        let (bound, n) = (&self.heads[head], self.place.key_dim * self.config.sines);
        let zeros = || vec![0.0; n];
        let mut sums =
            Sums { phase: zeros(), position: zeros(), log_gain: zeros(), log_constant: vec![0.0; k] };
        let mut u = vec![R::ZERO; BLOCK.min(x.len() / k) * inner];
        let mut d_u = u.clone();
        for_each_block(x.len() / k, |from, rows| {
            let (u, d_u) = (&mut u[..rows * inner], &mut d_u[..rows * inner]);
            let at = position + from as i64;
            self.fill(bound.phases(side), at, &x[from * k..][..rows * k], u);
            bound.projection.vjp(inner, &d_out[from * encoded..][..rows * encoded], d_u);
            self.pull_back(bound.phases(side), at, u, d_u, &mut d_x[from * k..][..rows * k], &mut sums);
        });
        self.add_parameter_gradients(side, head, &sums, d_params);
    }
}
