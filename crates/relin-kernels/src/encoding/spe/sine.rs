//! sineSPE: `P_d(τ) = c Σ_s λ²_ds cos(2π f_ds τ + θ_ds)`, as a random projection of sines and cosines.
//!
//! ```text
//! u_m = [ x_d cos(2π f_ds m + θ_ds) ; x_d sin(2π f_ds m + θ_ds) ; x_d ]          width (2·sines + 1)·K
//! encode(x, m) = u_m · diag(a) · Z,     a = [ √(1−g_d) λ_ds √c ; same ; √g_d ] / (RK)^¼,   Z ~ N(0, 1) of [.., R]
//! ```
//!
//! θ acts on queries alone; queries and keys share Z. A block of rows is one matrix product, and nothing is ever of the
//! size T·H·K·R. Without Z the product of two sides is the kernel itself: the exact limit R → ∞.

use std::f64::consts::TAU;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gate::{self, Gates};
use super::noise::{Noise, Purpose};
use super::phases::Phases;
use super::{MOST_REALIZATIONS, NoiseMode, check_count, diagonal, sigmoid, softplus};
use crate::encoding::{Agreement, Encoder, Encoding, EncodingError, Parameter, Place, Side, Stage};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::simd::dispatch;

/// Rows treated at once: their features fit the second-level cache.
const BLOCK: usize = 64;
const MOST_SINES: usize = 1 << 12;

/// How the sum of cosines is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// `c = 1/(2·sines)`, as the authors' code has it.
    Code,
    /// `c = 1`, as the paper's Eq. 18 has it.
    Paper,
}

/// sineSPE. The parameters do not depend on `realizations` or `noise`: a trained encoding may be built again with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SineSpeConfig {
    /// Number of cosines a feature.
    pub sines: usize,
    /// `R`.
    pub realizations: usize,
    /// Mix in a part without position.
    pub gated: bool,
    /// `c`.
    pub normalization: Normalization,
    /// What becomes of the noise.
    pub noise: NoiseMode,
    /// One code (noise, frequencies, offsets, gains) for all layers; gates and their noise stay a layer's own.
    pub shared: bool,
    /// Mean of the initial frequencies' logits: `f = σ(logit)/2` turns a token. That of the authors' code, −4, begins with
    /// periods of some 110 tokens; 0 spreads them over all that can be told apart, for short lags.
    pub frequency_logit: f64,
    /// Seed of the noise and of the initial parameters.
    pub seed: u64,
}

impl Default for SineSpeConfig {
    fn default() -> Self {
        Self {
            sines: 10,
            realizations: 64,
            gated: true,
            normalization: Normalization::Code,
            noise: NoiseMode::Redrawn,
            shared: false,
            frequency_logit: -4.0,
            seed: 0,
        }
    }
}

/// sineSPE in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct SineSpe {
    config: SineSpeConfig,
    place: Place,
    draw: u64,
}

impl SineSpe {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If a count is 0 or out of range.
    pub fn new(config: &SineSpeConfig, place: Place) -> Result<Self, EncodingError> {
        check_count("sines", config.sines, MOST_SINES)?;
        check_count("realizations", config.realizations, MOST_REALIZATIONS)?;
        if !config.frequency_logit.is_finite() {
            let (expected, found) = ("a finite number".into(), config.frequency_logit.to_string());
            return Err(EncodingError::BadValue { field: "frequency_logit", expected, found });
        }
        if place.key_dim == 0 {
            return Err(EncodingError::TooNarrow { family: "sine-spe", needed: 1, key_dim: 0 });
        }
        Ok(Self { config: config.clone(), place, draw: 0 })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &SineSpeConfig {
        &self.config
    }

    /// Number of (feature, sine) pairs of a head.
    fn waves(&self) -> usize {
        self.place.key_dim * self.config.sines
    }

    /// Width of `u`.
    fn inner_dim(&self) -> usize {
        2 * self.waves() + if self.config.gated { self.place.key_dim } else { 0 }
    }

    fn width(&self) -> usize {
        match self.config.noise {
            NoiseMode::Exact => self.inner_dim(),
            NoiseMode::Redrawn | NoiseMode::Frozen => self.config.realizations,
        }
    }

    /// `√c`.
    fn amplitude(&self) -> f64 {
        match self.config.normalization {
            Normalization::Code => (2.0 * self.config.sines as f64).powf(-0.5),
            Normalization::Paper => 1.0,
        }
    }

    /// Noise of the code, and of the gate.
    fn noise(&self, purpose: Purpose) -> Noise {
        let own = !self.config.shared || matches!(purpose, Purpose::Gate);
        Noise::new(self.config.seed, self.draw, own.then_some(self.place.layer))
    }

    /// One head's parameters, sine by sine instead of feature by feature.
    fn waves_of<R: Real>(&self, params: &[R], head: usize) -> Waves {
        let (k, n) = (self.place.key_dim, self.waves());
        let part = |which: usize| {
            let rows = &params[(which * self.place.heads + head) * n..][..n];
            (0..n).map(|at| rows[at % k * self.config.sines + at / k].to_f64()).collect()
        };
        let gates: Vec<f64> = match self.config.gated {
            true => params[3 * self.place.heads * n + head * k..][..k].iter().map(|g| g.to_f64()).collect(),
            false => Vec::new(),
        };
        Waves { raw_frequencies: part(0), offsets: part(1), raw_gains: part(2), gates: Gates::new(k, &gates) }
    }

    /// Z of one head, `[(2·sines + 1)·K, R]`, in the order of `u`.
    fn draw_noise<R: Real>(&self, head: usize) -> Vec<R> {
        let (k, sines, r) = (self.place.key_dim, self.config.sines, self.config.realizations);
        let mut z = vec![R::ZERO; self.inner_dim() * r];
        let mut rows = vec![R::ZERO; 2 * sines * r];
        let (code, gate) = (self.noise(Purpose::Code), self.noise(Purpose::Gate));
        for d in 0..k {
            code.rows(Purpose::Code, head, d, 0, r, &mut rows);
            for (component, row) in rows.chunks(r).enumerate() {
                let (half, sine) = (component % 2, component / 2);
                z[((half * sines + sine) * k + d) * r..][..r].copy_from_slice(row);
            }
            if self.config.gated {
                gate.rows(Purpose::Gate, head, d, 0, r, &mut z[(2 * sines * k + d) * r..][..r]);
            }
        }
        z
    }

    /// Binds with Z from elsewhere: `noise(head)` as [`draw_noise`](Self::draw_noise) gives it.
    pub(super) fn bind_to<R: Real>(
        &self,
        params: &[R],
        noise: impl Fn(usize) -> Vec<R> + Sync,
    ) -> Box<dyn Encoder<R>> {
        let bind = |head| self.bind_head(params, head, || noise(head));
        let heads = (0..self.place.heads).into_par_iter().map(bind).collect();
        let Self { config, place, .. } = self.clone();
        Box::new(Bound { config, place, inner_dim: self.inner_dim(), encoded_dim: self.width(), heads })
    }

    fn bind_head<R: Real>(&self, params: &[R], head: usize, noise: impl Fn() -> Vec<R>) -> Head<R> {
        let waves = self.waves_of(params, head);
        let amplitudes = self.amplitudes(&waves);
        let projection = match self.config.noise {
            NoiseMode::Exact => Projection::Diagonal(amplitudes.iter().map(|&a| R::from_f64(a)).collect()),
            NoiseMode::Redrawn | NoiseMode::Frozen => {
                let mut z = noise();
                for (row, &a) in z.chunks_mut(self.config.realizations).zip(&amplitudes) {
                    row.iter_mut().for_each(|z| *z *= R::from_f64(a));
                }
                Projection::Noise(z)
            }
        };
        let frequencies = waves.frequencies();
        Head {
            query: Phases::new(frequencies.clone(), waves.offsets.clone()),
            key: Phases::new(frequencies, vec![0.0; self.waves()]),
            waves,
            projection,
        }
    }

    /// `a`, with `(RK)^−¼` or, without noise, what keeps the scores' scale: `(K'/K)^¼`.
    fn amplitudes(&self, waves: &Waves) -> Vec<f64> {
        let (k, n) = (self.place.key_dim, self.waves());
        let scale = match self.config.noise {
            NoiseMode::Exact => (self.width() as f64 / k as f64).powf(0.25),
            NoiseMode::Redrawn | NoiseMode::Frozen => (self.width() as f64 * k as f64).powf(-0.25),
        };
        let positional = |at: usize| {
            waves.gates.positional(at % k) * softplus(waves.raw_gains[at]) * self.amplitude() * scale
        };
        let constant = |d: usize| waves.gates.constant(d) * scale;
        let rest = (self.inner_dim() - 2 * n) as i64;
        (0..2 * n).map(|at| positional(at % n)).chain((0..rest as usize).map(constant)).collect()
    }

    /// `P'_d(τ)` for every feature; τ = s − t.
    fn covariances<R: Real>(&self, params: &[R], head: usize, tau: i64) -> Vec<f64> {
        let k = self.place.key_dim;
        let waves = self.waves_of(params, head);
        let at = Phases::new(waves.frequencies(), waves.offsets.clone()).at(tau);
        let p = |d: usize| {
            let wave = |s: usize| softplus(waves.raw_gains[s * k + d]).powi(2) * at.cos[s * k + d];
            self.amplitude().powi(2) * (0..self.config.sines).map(wave).sum::<f64>()
        };
        (0..k).map(|d| waves.gates.mix(d, p(d))).collect()
    }
}

/// One head's parameters at `[sine, feature]`.
#[derive(Debug)]
struct Waves {
    raw_frequencies: Vec<f64>,
    offsets: Vec<f64>,
    raw_gains: Vec<f64>,
    gates: Gates,
}

impl Waves {
    /// `f = σ(raw)/2`, in cycles per position.
    fn frequencies(&self) -> Vec<f64> {
        self.raw_frequencies.iter().map(|&raw| 0.5 * sigmoid(raw)).collect()
    }
}

impl<R: Real> Encoding<R> for SineSpe {
    fn key_dim(&self) -> usize {
        self.place.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.width()
    }

    /// `freqs`, `offsets`, `gains`: `[H, K, sines]`; `gates`: `[H, K]`. `f = σ(freqs)/2`, `λ = softplus(gains)`, `g = σ(gates)`.
    fn parameters(&self) -> Vec<Parameter> {
        let Place { key_dim: k, heads, layer } = self.place;
        let sines = self.config.sines;
        let code = Noise::new(self.config.seed, 0, (!self.config.shared).then_some(layer));
        let normals =
            |head, d, which: usize| code.initial(head, d, 3 * sines)[which * sines..][..sines].to_vec();
        let gains = |head, d| {
            let g = normals(head, d, 2);
            let length = g.iter().map(|g| g * g).sum::<f64>().sqrt().sqrt().max(f64::MIN_POSITIVE);
            g.into_iter().map(|g| 2.0 * g / length).collect::<Vec<_>>()
        };
        let all = |name, values: &dyn Fn(usize, usize) -> Vec<f64>| Parameter {
            name,
            shape: vec![heads, k, sines],
            init: (0..heads * k).flat_map(|at| values(at / k, at % k)).collect(),
        };
        let mut parameters = vec![
            all("freqs", &|head, d| {
                normals(head, d, 0).into_iter().map(|f| f + self.config.frequency_logit).collect()
            }),
            all("offsets", &|head, d| normals(head, d, 1)),
            all("gains", &gains),
        ];
        if self.config.gated {
            let own = Noise::new(self.config.seed, 1, Some(layer));
            parameters.push(gate::parameter(heads, k, |head, d| own.initial(head, d, 1)));
        }
        parameters
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        self.bind_to(params, |head| self.draw_noise(head))
    }

    /// `√(K'/K) diag P'_d(−lag)`.
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let k = self.place.key_dim;
        let covariances = self.covariances(params, head, -lag);
        let scale = (self.width() as f64 / k as f64).sqrt();
        diagonal(k, |d| scale * covariances[d])
    }

    fn stage(&self) -> Stage {
        Stage::BeforeFeatureMap
    }

    fn is_unitary(&self) -> bool {
        false
    }

    fn agreement(&self) -> Agreement {
        match self.config.noise {
            NoiseMode::Exact => Agreement::Exact,
            _ => Agreement::InExpectation { realizations: self.config.realizations },
        }
    }

    fn logit_scale(&self) -> f64 {
        (self.width() as f64).powf(-0.5)
    }

    fn dense_map(&self, params: &[R], side: Side, head: usize, position: i64) -> Option<Vec<f64>> {
        let (k, n, r) = (self.place.key_dim, self.waves(), self.config.realizations);
        if self.config.noise == NoiseMode::Exact {
            return None;
        }
        let waves = self.waves_of(params, head);
        let z: Vec<f64> = self.draw_noise(head);
        let scale = (r as f64 * k as f64).powf(-0.25);
        let mut map = vec![0.0; k * r];
        for (at, out) in map.iter_mut().enumerate() {
            let (d, r_at) = (at / r, at % r);
            let mut code = 0.0;
            for wave in (0..self.config.sines).map(|s| s * k + d) {
                let offset = if side == Side::Query { waves.offsets[wave] } else { 0.0 };
                let turns = (waves.frequencies()[wave] * position as f64).fract();
                let (sin, cos) = (TAU * turns + offset).sin_cos();
                let lambda = softplus(waves.raw_gains[wave]) * self.amplitude();
                code += lambda * (cos * z[wave * r + r_at] + sin * z[(n + wave) * r + r_at]);
            }
            let constant = if self.config.gated { z[(2 * n + d) * r + r_at] } else { 0.0 };
            *out = scale * (waves.gates.positional(d) * code + waves.gates.constant(d) * constant);
        }
        Some(map)
    }

    fn redrawn(&self, draw: u64) -> Option<std::sync::Arc<dyn Encoding<R>>> {
        let redrawn = Self { draw, ..self.clone() };
        (self.config.noise == NoiseMode::Redrawn).then(|| std::sync::Arc::new(redrawn) as _)
    }

    fn shared_parameters(&self) -> &'static [&'static str] {
        if self.config.shared { &["freqs", "offsets", "gains"] } else { &[] }
    }
}

#[derive(Debug)]
struct Bound<R> {
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

impl<R> Head<R> {
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
