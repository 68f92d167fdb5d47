//! convSPE: white noise through two filters a feature, `Q̄_d(n) = Σ_j w^q_dj z_d(n + j)`, and `K̄_d` with `w^k`.
//!
//! ```text
//! P_d(τ) = Σ_j w^q_dj w^k_d,j+τ        zero for |τ| ≥ P
//! ```
//!
//! On a grid, n, j and τ have a coordinate for each axis, and filters `P` taps along each.
//!
//! # Reference
//! Eq. 22 and the authors' `ConvSPE`, whose PyTorch code names the query's filters `conv_k` and the key's `conv_q`.

mod encoder;

use serde::{Deserialize, Serialize};

use encoder::Bound;

use super::gate::{self, Gates};
use super::lattice::Lattice;
use super::noise::{Noise, Purpose};
use super::{MOST_REALIZATIONS, NoiseMode, check_count, diagonal};
use crate::encoding::{Agreement, Encoder, Encoding, EncodingError, Parameter, Place, Side, Stage};
use crate::real::Real;

const LONGEST: usize = 1 << 20;

/// convSPE. The parameters do not depend on `realizations`: a trained encoding may be built again with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvSpeConfig {
    /// `P`, the length of the filters along each axis: lags from P on have no score but the gate's.
    pub kernel_size: usize,
    /// Cells along each axis of a grid, the slowest first; position `p` is cell `p` row by row, and beyond the last cell
    /// the first axis goes on. Empty: positions are a line.
    pub shape: Vec<usize>,
    /// `R`.
    pub realizations: usize,
    /// Mix in a part without position.
    pub gated: bool,
    /// What becomes of the noise; `exact` has no factorisation here.
    pub noise: NoiseMode,
    /// One code (noise and filters) for all layers; gates and their noise stay a layer's own.
    pub shared: bool,
    /// Tokens of a sequence, where known: longer filters are refused.
    pub context: Option<usize>,
    /// Seed of the noise and of the initial parameters.
    pub seed: u64,
}

impl Default for ConvSpeConfig {
    fn default() -> Self {
        Self {
            kernel_size: 128,
            shape: Vec::new(),
            realizations: 64,
            gated: true,
            noise: NoiseMode::Redrawn,
            shared: false,
            context: None,
            seed: 0,
        }
    }
}

/// convSPE in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSpe {
    config: ConvSpeConfig,
    place: Place,
    lattice: Lattice,
    draw: u64,
}

impl ConvSpe {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If a count is 0 or out of range, the filters are longer than the context or an axis, or the noise is `exact`.
    pub fn new(config: &ConvSpeConfig, place: Place) -> Result<Self, EncodingError> {
        config.shape.iter().try_for_each(|&cells| check_count("shape", cells, LONGEST))?;
        let longest = config.shape.iter().copied().chain(config.context).min().unwrap_or(LONGEST);
        check_count("kernel_size", config.kernel_size, longest)?;
        let taps = (config.kernel_size as f64).powi(config.shape.len() as i32);
        if taps > LONGEST as f64 {
            let expected = format!("at most {LONGEST} taps of a filter");
            let found = format!("{}, with {} axes", config.kernel_size, config.shape.len());
            return Err(EncodingError::BadValue { field: "kernel_size", expected, found });
        }
        check_count("realizations", config.realizations, MOST_REALIZATIONS)?;
        if place.key_dim == 0 {
            return Err(EncodingError::TooNarrow { family: "conv-spe", needed: 1, key_dim: 0 });
        }
        if config.noise == NoiseMode::Exact {
            let expected = "\"redrawn\" or \"frozen\": the exact limit of convSPE has no factorisation (\"sine-exact\" has one)";
            let found = "\"exact\"".into();
            return Err(EncodingError::BadValue { field: "noise", expected: expected.into(), found });
        }
        let lattice = Lattice::new(&config.shape, config.kernel_size);
        Ok(Self { config: config.clone(), place, lattice, draw: 0 })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ConvSpeConfig {
        &self.config
    }

    /// Noise of the code, and of the gate.
    fn noise(&self, purpose: Purpose) -> Noise {
        let own = !self.config.shared || matches!(purpose, Purpose::Gate);
        Noise::new(self.config.seed, self.draw, own.then_some(self.place.layer))
    }

    fn scale(&self) -> f64 {
        (self.config.realizations as f64 * self.place.key_dim as f64).powf(-0.25)
    }

    /// One head's filters of one side, `[K, taps]`.
    fn filters<'a, R>(&self, params: &'a [R], side: Side, head: usize) -> &'a [R] {
        let size = self.place.key_dim * self.lattice.taps();
        let which = usize::from(side == Side::Key);
        &params[(which * self.place.heads + head) * size..][..size]
    }

    fn gates<R: Real>(&self, params: &[R], head: usize) -> Gates {
        let (k, Place { heads, .. }) = (self.place.key_dim, self.place);
        let raw: Vec<f64> = match self.config.gated {
            true => params[2 * heads * k * self.lattice.taps() + head * k..][..k]
                .iter()
                .map(|g| g.to_f64())
                .collect(),
            false => Vec::new(),
        };
        Gates::new(k, &raw)
    }

    /// Binds with noise from elsewhere.
    pub(super) fn bind_to<R: Real, S: Source<R> + 'static>(
        &self,
        params: &[R],
        source: S,
    ) -> Box<dyn Encoder<R>> {
        Box::new(Bound::new(self.clone(), params, source))
    }

    /// `P'_d(τ)`; τ = s − t, a lag along each axis.
    fn covariance<R: Real>(&self, params: &[R], head: usize, d: usize, tau: &[i64]) -> f64 {
        let taps = self.lattice.taps();
        let row = |side| &self.filters(params, side, head)[d * taps..][..taps];
        let (query, key) = (row(Side::Query), row(Side::Key));
        let term = |(tap, w): (usize, &R)| {
            let moved = self.lattice.tap(tap).into_iter().zip(tau).map(|(j, tau)| j + tau);
            self.lattice.tap_at(moved).map_or(0.0, |other| w.to_f64() * key[other].to_f64())
        };
        self.gates(params, head).mix(d, query.iter().enumerate().map(term).sum())
    }
}

/// Where noise comes from: the generator, or a table.
pub(super) trait Source<R>: std::fmt::Debug + Send + Sync {
    /// `z_d(first), …`: rows of `[n, R]`.
    fn code(&self, head: usize, d: usize, first: i64, out: &mut [R]);
    /// `ε_d`, `[R]`.
    fn gate(&self, head: usize, d: usize, out: &mut [R]);
}

#[derive(Debug)]
struct Drawn {
    code: Noise,
    gate: Noise,
    realizations: usize,
}

impl<R: Real> Source<R> for Drawn {
    fn code(&self, head: usize, d: usize, first: i64, out: &mut [R]) {
        self.code.rows(Purpose::Code, head, d, first, self.realizations, out);
    }

    fn gate(&self, head: usize, d: usize, out: &mut [R]) {
        self.gate.rows(Purpose::Gate, head, d, 0, self.realizations, out);
    }
}

impl ConvSpe {
    fn drawn(&self) -> Drawn {
        let realizations = self.config.realizations;
        Drawn { code: self.noise(Purpose::Code), gate: self.noise(Purpose::Gate), realizations }
    }
}

impl<R: Real> Encoding<R> for ConvSpe {
    fn key_dim(&self) -> usize {
        self.place.key_dim
    }

    fn encoded_dim(&self) -> usize {
        self.config.realizations
    }

    /// `query_filters`, `key_filters`: `[H, K, P, …]`; `gates`: `[H, K]`.
    fn parameters(&self) -> Vec<Parameter> {
        let Place { key_dim: k, heads, layer } = self.place;
        let taps = self.lattice.taps();
        let code = Noise::new(self.config.seed, 0, (!self.config.shared).then_some(layer));
        let filters = |name, which: usize| {
            let row =
                |at: usize| code.initial_uniform(at / k, at % k, 2 * taps)[which * taps..][..taps].to_vec();
            let init = (0..heads * k).flat_map(row).map(|w| w / (taps as f64 / 2.0).sqrt()).collect();
            let axes = vec![self.config.kernel_size; self.lattice.axes()];
            Parameter { name, shape: [vec![heads, k], axes].concat(), init, multiplies_position: false }
        };
        let mut parameters = vec![filters("query_filters", 0), filters("key_filters", 1)];
        if self.config.gated {
            let own = Noise::new(self.config.seed, 1, Some(layer));
            parameters.push(gate::parameter(heads, k, |head, d| own.initial(head, d, 1)));
        }
        parameters
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        self.bind_to(params, self.drawn())
    }

    /// `√(R/K) diag P'_d(−lag)`; on a grid, between the cell 0 and the cell `lag`.
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        self.kernel_between(params, head, 0, lag)
    }

    fn kernel_between(&self, params: &[R], head: usize, query: i64, key: i64) -> Vec<f64> {
        let k = self.place.key_dim;
        let scale = (self.config.realizations as f64 / k as f64).sqrt();
        let cells = [query, key].map(|cell| self.lattice.coordinates(cell));
        let tau: Vec<i64> = cells[0].iter().zip(&cells[1]).map(|(s, t)| s - t).collect();
        diagonal(k, |d| scale * self.covariance(params, head, d, &tau))
    }

    fn shift_step(&self) -> i64 {
        self.lattice.line()
    }

    fn stage(&self) -> Stage {
        Stage::BeforeFeatureMap
    }

    fn is_unitary(&self) -> bool {
        false
    }

    fn agreement(&self) -> Agreement {
        Agreement::InExpectation { realizations: self.config.realizations }
    }

    fn logit_scale(&self) -> f64 {
        (self.config.realizations as f64).powf(-0.5)
    }

    fn dense_map(&self, params: &[R], side: Side, head: usize, position: i64) -> Option<Vec<f64>> {
        let (k, r, lattice) = (self.place.key_dim, self.config.realizations, &self.lattice);
        let (gates, source, taps) = (self.gates(params, head), self.drawn(), lattice.taps());
        let runs: Vec<usize> = lattice.runs().collect();
        let mut map = vec![0.0; k * r];
        let filters = self.filters(params, side, head).chunks(taps);
        for (d, (row, filter)) in map.chunks_mut(r).zip(filters).enumerate() {
            let (mut z, mut constant) = (vec![0.0; r], vec![0.0; r]);
            if self.config.gated {
                source.gate(head, d, &mut constant);
            }
            for (tap, w) in filter.iter().enumerate() {
                let distance = runs[tap / self.config.kernel_size] + tap % self.config.kernel_size;
                source.code(head, d, lattice.noise(position) + distance as i64, &mut z);
                row.iter_mut().zip(&z).for_each(|(out, z)| *out += gates.positional(d) * w.to_f64() * z);
            }
            for (out, e) in row.iter_mut().zip(&constant) {
                *out = self.scale() * (*out + gates.constant(d) * e);
            }
        }
        Some(map)
    }

    fn redrawn(&self, draw: u64) -> Option<std::sync::Arc<dyn Encoding<R>>> {
        let redrawn = Self { draw, ..self.clone() };
        (self.config.noise == NoiseMode::Redrawn).then(|| std::sync::Arc::new(redrawn) as _)
    }

    fn shared_parameters(&self) -> &'static [&'static str] {
        if self.config.shared { &["query_filters", "key_filters"] } else { &[] }
    }

    fn halo(&self) -> usize {
        self.lattice.reach()
    }
}
