//! sineSPE bound to its parameters: rows through sines and cosines, then through the noise, and back.

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::codes::Together;
use super::{SineSpe, SineSpeConfig, Waves};
use crate::encoding::spe::phases::Phases;
use crate::encoding::spe::{NoiseMode, sigmoid, softplus};
use crate::encoding::{Encoder, Place, Side};
use crate::matmul::{Into, Mat, matmul};
use crate::simd::{Lanes, dispatch};
use crate::tiles::weighted_rows;

/// Rows treated at once: their features fit the second-level cache.
const BLOCK: usize = 64;

#[derive(Debug)]
pub(super) struct Bound<R> {
    pub config: SineSpeConfig,
    pub place: Place,
    pub inner_dim: usize,
    encoded_dim: usize,
    pub heads: Vec<Head<R>>,
}

#[derive(Debug)]
pub(super) struct Head<R> {
    waves: Waves,
    query: Phases,
    key: Phases,
    projection: Projection<R>,
}

/// `diag(a) Z`, twice: a row of `u` is multiplied by all of it, a code is made feature by feature.
#[derive(Debug)]
pub(super) struct Noise<R> {
    /// `[2·sines + 1, K, R]`.
    by_wave: Vec<R>,
    /// `[K, 2·sines + 1, R]`.
    pub by_feature: Vec<R>,
}

#[derive(Debug)]
enum Projection<R> {
    Noise(Noise<R>),
    /// `a`.
    Diagonal(Vec<R>),
}

impl<R: Lanes> Head<R> {
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
                let (k, r) = (encoding.place.key_dim, encoding.config.realizations);
                let of_feature = |d: usize| z[d * r..].chunks(k * r).flat_map(|row| &row[..r]).copied();
                let by_feature = (0..k).flat_map(of_feature).collect();
                Projection::Noise(Noise { by_wave: z, by_feature })
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

    pub fn phases(&self, side: Side) -> &Phases {
        match side {
            Side::Query => &self.query,
            Side::Key => &self.key,
        }
    }
}

/// `x *= by`.
fn multiply<R: Lanes>(x: &mut [R], by: &[R]) {
    x.iter_mut().zip(by).for_each(|(x, &by)| *x *= by);
}

/// Calls `block(first row, rows)` for runs of at most `most` rows.
pub(super) fn for_each_block(rows: usize, most: usize, mut block: impl FnMut(usize, usize)) {
    (0..rows).step_by(most).for_each(|from| block(from, most.min(rows - from)));
}

impl<R: Lanes> Bound<R> {
    pub fn new(encoding: &SineSpe, params: &[R], noise: impl Fn(usize) -> Vec<R> + Sync) -> Self {
        let head = |head: usize| Head::new(encoding, params, head, || noise(head));
        let heads = (0..encoding.place.heads).into_par_iter().map(head).collect();
        let SineSpe { config, place, .. } = encoding.clone();
        Self { config, place, inner_dim: encoding.inner_dim(), encoded_dim: encoding.width(), heads }
    }

    /// `u` for a block of rows, and nothing of the parts that the noise makes.
    pub fn fill(&self, phases: &Phases, position: i64, x: &[R], u: &mut [R]) {
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
    pub fn pull_back(
        &self,
        phases: &Phases,
        position: i64,
        u: &[R],
        d_u: &[R],
        d_x: &mut [R],
        sums: &mut Sums,
    ) {
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
    pub fn add_parameter_gradients(&self, side: Side, head: usize, sums: &Sums, d_params: &mut [f64]) {
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
pub(super) struct Sums {
    phase: Vec<f64>,
    position: Vec<f64>,
    log_gain: Vec<f64>,
    log_constant: Vec<f64>,
}

impl Sums {
    pub fn new(key_dim: usize, sines: usize) -> Self {
        let zeros = || vec![0.0; key_dim * sines];
        Self { phase: zeros(), position: zeros(), log_gain: zeros(), log_constant: vec![0.0; key_dim] }
    }
}

impl<R: Lanes> Encoder<R> for Bound<R> {
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        self.encode_sequences(side, head, position, 1, x, out);
    }

    fn encode_sequences(
        &self,
        side: Side,
        head: usize,
        position: i64,
        sequences: usize,
        x: &[R],
        out: &mut [R],
    ) {
        let (bound, k, inner) = (&self.heads[head], self.place.key_dim, self.inner_dim);
        match &bound.projection {
            Projection::Noise(noise) => {
                Together { bound: self, side, head, position, sequences, noise }.encode(x, out);
            }
            Projection::Diagonal(a) => {
                let rows = (x.len() / k / sequences.max(1)).max(1);
                for (x, out) in x.chunks(rows * k).zip(out.chunks_mut(rows * inner)) {
                    for_each_block(x.len() / k, BLOCK, |from, rows| {
                        let (x, out) = (&x[from * k..][..rows * k], &mut out[from * inner..][..rows * inner]);
                        self.fill(bound.phases(side), position + from as i64, x, out);
                        out.chunks_mut(inner).for_each(|row| multiply(row, a));
                    });
                }
            }
        }
    }

    /// A single row needs no code: `u · diag(a) Z`, both sides of a head while its noise is in the cache.
    fn encode_token(&self, heads: usize, position: i64, x: [&[R]; 2], mut out: [&mut [R]; 2]) {
        let (k, encoded) = (self.place.key_dim, self.encoded_dim);
        let mut u = vec![R::ZERO; self.inner_dim];
        for (head, bound) in self.heads.iter().enumerate().take(heads) {
            for ((side, x), out) in [Side::Query, Side::Key].into_iter().zip(x).zip(&mut out) {
                let (x, out) = (&x[head * k..][..k], &mut out[head * encoded..][..encoded]);
                match &bound.projection {
                    Projection::Noise(noise) => {
                        self.fill(bound.phases(side), position, x, &mut u);
                        weighted_rows(&u, &noise.by_wave, encoded, out, Into::Overwrite);
                    }
                    Projection::Diagonal(_) => self.encode(side, head, position, x, out),
                }
            }
        }
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
        let bound = &self.heads[head];
        let mut sums = Sums::new(k, self.config.sines);
        let mut u = vec![R::ZERO; BLOCK.min(x.len() / k) * inner];
        let mut d_u = u.clone();
        for_each_block(x.len() / k, BLOCK, |from, rows| {
            let (u, d_u) = (&mut u[..rows * inner], &mut d_u[..rows * inner]);
            let at = position + from as i64;
            self.fill(bound.phases(side), at, &x[from * k..][..rows * k], u);
            let d_out = &d_out[from * encoded..][..rows * encoded];
            match &bound.projection {
                Projection::Noise(noise) => {
                    let z = Mat::new(&noise.by_wave, inner, encoded);
                    matmul(d_u, Into::Overwrite, Mat::new(d_out, rows, encoded), z.t());
                }
                Projection::Diagonal(a) => {
                    d_u.copy_from_slice(d_out);
                    d_u.chunks_mut(inner).for_each(|row| multiply(row, a));
                }
            }
            self.pull_back(bound.phases(side), at, u, d_u, &mut d_x[from * k..][..rows * k], &mut sums);
        });
        self.add_parameter_gradients(side, head, &sums, d_params);
    }

    fn vjp_sequences(
        &self,
        side: Side,
        head: usize,
        position: i64,
        sequences: usize,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        match &self.heads[head].projection {
            Projection::Noise(noise) if sequences > 1 => {
                let together = Together { bound: self, side, head, position, sequences, noise };
                together.vjp(x, d_out, d_x, d_params);
            }
            // The gradient of a row by itself needs no code, only what Z gives back to its sines.
            _ => {
                let rows = (x.len() / self.place.key_dim / sequences.max(1)).max(1);
                let [of_x, of_out] = [self.place.key_dim, self.encoded_dim].map(|width| rows * width);
                let places = x.chunks(of_x).zip(encoded.chunks(of_out)).zip(d_out.chunks(of_out));
                for (((x, encoded), d_out), d_x) in places.zip(d_x.chunks_mut(of_x)) {
                    self.vjp(side, head, position, x, encoded, d_out, d_x, d_params);
                }
            }
        }
    }
}
