//! sineSPE: `P_d(τ) = c Σ_s λ²_ds cos(2π f_ds τ + θ_ds)`, as a random projection of sines and cosines.
//!
//! ```text
//! u_m = [ x_d cos(2π f_ds m + θ_ds) ; x_d sin(2π f_ds m + θ_ds) ; x_d ]          width (2·sines + 1)·K
//! encode(x, m) = u_m · diag(a) · Z,     a = [ √(1−g_d) λ_ds √c ; same ; √g_d ] / (RK)^¼,   Z ~ N(0, 1) of [.., R]
//! ```
//!
//! θ acts on queries alone; queries and keys share Z. A block of rows is one matrix product, and nothing is ever of the
//! size T·H·K·R; several sequences at the same positions share these positions' codes (`codes`). Without Z the product of two
//! sides is the kernel itself: the exact limit R → ∞.

mod codes;
mod encoder;

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use encoder::Bound;

use super::gate::{self, Gates};
use super::noise::{Noise, Purpose};
use super::phases::Phases;
use super::{MOST_REALIZATIONS, NoiseMode, check_count, diagonal, sigmoid, softplus};
use crate::encoding::{Agreement, Encoder, Encoding, EncodingError, Parameter, Place, Side, Stage};
use crate::simd::Lanes;

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
    fn waves_of<R: Lanes>(&self, params: &[R], head: usize) -> Waves {
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
    fn draw_noise<R: Lanes>(&self, head: usize) -> Vec<R> {
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
    pub(super) fn bind_to<R: Lanes>(
        &self,
        params: &[R],
        noise: impl Fn(usize) -> Vec<R> + Sync,
    ) -> Box<dyn Encoder<R>> {
        Box::new(Bound::new(self, params, noise))
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
    fn covariances<R: Lanes>(&self, params: &[R], head: usize, tau: i64) -> Vec<f64> {
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

impl<R: Lanes> Encoding<R> for SineSpe {
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
            multiplies_position: false,
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

    fn shares_positions(&self) -> bool {
        self.config.noise != NoiseMode::Exact
    }
}
