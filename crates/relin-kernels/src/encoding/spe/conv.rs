//! convSPE: white noise through two filters a feature, `Q̄_d(n) = Σ_j w^q_dj z_d(n + j)`, and `K̄_d` with `w^k`.
//!
//! ```text
//! P_d(τ) = Σ_j w^q_dj w^k_d,j+τ        zero for |τ| ≥ P
//! ```
//!
//! On a grid, n, j and τ have a coordinate for each axis, and filters `P` taps along each.
//!
//! Noise at a position is a function of the position, so a block of n rows needs nothing but its own n + P − 1 noise rows.
//! The filters and the rows of x are merged into a banded matrix, `A_ij = x_id w_d,j−i`, whose product with the
//! noise is the block's part of feature d; the gradient for both of them comes from one product `d_out Z^T`.
//!
//! # Reference
//! Eq. 22 and the authors' `ConvSPE`, whose PyTorch code names the query's filters `conv_k` and the key's `conv_q`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gate::{self, Gates};
use super::lattice::{BAND, Band, Lattice};
use super::noise::{Noise, Purpose};
use super::{MOST_REALIZATIONS, NoiseMode, check_count, diagonal};
use crate::encoding::{Agreement, Encoder, Encoding, EncodingError, Parameter, Place, Side, Stage};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;

/// Rows whose noise is held at once.
const BLOCK: usize = 1024;
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
        let (k, r) = (self.place.key_dim, self.config.realizations);
        let bind = |head: usize| {
            let gates = self.gates(params, head);
            let mut constant = Vec::new();
            if self.config.gated {
                constant.resize(k * r, R::ZERO);
                for (d, row) in constant.chunks_mut(r).enumerate() {
                    source.gate(head, d, row);
                    row.iter_mut().for_each(|e| *e *= R::from_f64(self.scale() * gates.constant(d)));
                }
            }
            let filters = |side| {
                let filters = self.filters(params, side, head).chunks(self.lattice.taps()).enumerate();
                let scaled = |(d, row): (usize, &[R])| {
                    let scale = R::from_f64(self.scale() * gates.positional(d));
                    row.iter().map(|&w| w * scale).collect::<Vec<_>>()
                };
                filters.flat_map(scaled).collect::<Vec<_>>()
            };
            Head { query: filters(Side::Query), key: filters(Side::Key), gates, constant }
        };
        let heads = (0..self.place.heads).into_par_iter().map(bind).collect();
        Box::new(Bound { encoding: self.clone(), heads, source })
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
            Parameter { name, shape: [vec![heads, k], axes].concat(), init }
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

#[derive(Debug)]
struct Bound<R, S> {
    encoding: ConvSpe,
    heads: Vec<Head<R>>,
    source: S,
}

/// One head: filters `[K, taps]` times `√(1 − g) (RK)^−¼`, and `√g ε (RK)^−¼`, `[K, R]` or empty.
#[derive(Debug)]
struct Head<R> {
    query: Vec<R>,
    key: Vec<R>,
    gates: Gates,
    constant: Vec<R>,
}

impl<R> Head<R> {
    fn filters(&self, side: Side) -> &[R] {
        match side {
            Side::Query => &self.query,
            Side::Key => &self.key,
        }
    }
}

impl<R: Real, S: Source<R>> Bound<R, S> {
    /// Calls `band(d, band, noise)` for every feature and band of rows, the noise beginning with that of the band.
    fn for_each_band(
        &self,
        head: usize,
        position: i64,
        rows: usize,
        mut band: impl FnMut(usize, Band, &[R]),
    ) {
        let (lattice, r) = (&self.encoding.lattice, self.encoding.config.realizations);
        let mut noise = Vec::new();
        for block in (0..rows).step_by(BLOCK) {
            let (first, in_block) = (position + block as i64, BLOCK.min(rows - block));
            let range = lattice.noise_of(first, in_block);
            let bands = lattice.bands(first, in_block);
            noise.resize((range.end - range.start) as usize * r, R::ZERO);
            for d in 0..self.encoding.place.key_dim {
                self.source.code(head, d, range.start, &mut noise);
                for &Band { from, rows, noise: at } in &bands {
                    let noise = &noise[(at - range.start) as usize * r..];
                    band(d, Band { from: block + from, rows, noise: at }, noise);
                }
            }
        }
    }
}

/// `A_ij = x_i w_{j−i}`: rows times filters as a matrix whose product with the noise is their part of the code.
struct Banded<R> {
    a: Vec<R>,
    /// Columns that the zeros of `a` belong to.
    width: usize,
}

impl<R: Real> Banded<R> {
    fn new(kernel_size: usize) -> Self {
        Self { a: vec![R::ZERO; BAND * (BAND + kernel_size - 1)], width: 0 }
    }

    /// For rows `x` and P taps next to each other.
    fn fill(&mut self, x: impl ExactSizeIterator<Item = R>, filter: &[R]) -> Mat<'_, R> {
        let rows = x.len();
        let width = rows + filter.len() - 1;
        if width != std::mem::replace(&mut self.width, width) {
            self.a.fill(R::ZERO);
        }
        for (i, x) in x.enumerate() {
            let row = &mut self.a[i * width + i..][..filter.len()];
            row.iter_mut().zip(filter).for_each(|(a, &w)| *a = x * w);
        }
        Mat::new(&self.a, rows, width)
    }
}

impl<R: Real, S: Source<R>> Encoder<R> for Bound<R, S> {
    fn encode(&self, side: Side, head: usize, position: i64, x: &[R], out: &mut [R]) {
        let ConvSpeConfig { kernel_size: p, realizations: r, .. } = self.encoding.config;
        let k = self.encoding.place.key_dim;
        let rows = x.len() / k;
        let bound = &self.heads[head];
        match bound.constant.as_slice() {
            [] => out.fill(R::ZERO),
            constant => matmul(out, Into::Overwrite, Mat::new(x, rows, k), Mat::new(constant, k, r)),
        }
        let lattice = &self.encoding.lattice;
        let (mut banded, runs) = (Banded::new(p), lattice.runs().collect::<Vec<_>>());
        self.for_each_band(head, position, rows, |d, band, noise| {
            let filter = &bound.filters(side)[d * lattice.taps()..][..lattice.taps()];
            let out = &mut out[band.from * r..][..band.rows * r];
            for (run, filter) in runs.iter().zip(filter.chunks(p)) {
                let a = banded.fill((0..band.rows).map(|i| x[(band.from + i) * k + d]), filter);
                matmul(out, Into::Accumulate, a, Mat::new(&noise[run * r..], band.rows + p - 1, r));
            }
        });
    }

    /// The maps themselves, all of a block's noise drawn once.
    fn maps(&self, side: Side, head: usize, first: i64, rows: usize, k: usize, out: &mut [R]) {
        let ConvSpeConfig { kernel_size: p, realizations: r, .. } = self.encoding.config;
        let (lattice, bound) = (&self.encoding.lattice, &self.heads[head]);
        let (mut banded, runs) = (Banded::new(p), lattice.runs().collect::<Vec<_>>());
        let mut codes = vec![R::ZERO; BAND * r];
        self.for_each_band(head, first, rows, |d, band, noise| {
            let filter = &bound.filters(side)[d * lattice.taps()..][..lattice.taps()];
            let codes = &mut codes[..band.rows * r];
            match bound.constant.get(d * r..(d + 1) * r) {
                Some(constant) => codes.chunks_mut(r).for_each(|row| row.copy_from_slice(constant)),
                None => codes.fill(R::ZERO),
            }
            for (run, filter) in runs.iter().zip(filter.chunks(p)) {
                let a = banded.fill((0..band.rows).map(|_| R::ONE), filter);
                matmul(codes, Into::Accumulate, a, Mat::new(&noise[run * r..], band.rows + p - 1, r));
            }
            for (i, code) in codes.chunks(r).enumerate() {
                out[((band.from + i) * k + d) * r..][..r].copy_from_slice(code);
            }
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
        let ConvSpeConfig { kernel_size: p, realizations: r, gated, .. } = self.encoding.config;
        let Place { key_dim: k, heads, .. } = self.encoding.place;
        let (rows, lattice, bound) = (x.len() / k, &self.encoding.lattice, &self.heads[head]);
        let (taps, runs) = (lattice.taps(), lattice.runs().collect::<Vec<_>>());
        let mut d_log_constant = vec![0.0; k];
        d_x.fill(R::ZERO);
        if gated {
            matmul(d_x, Into::Overwrite, Mat::new(d_out, rows, r), Mat::new(&bound.constant, k, r).t());
            for (at, (d, x)) in d_x.iter().zip(x).enumerate() {
                d_log_constant[at % k] += (*d * *x).to_f64();
            }
        }
        let mut d_log_positional = vec![0.0; k];
        let mut correlation = vec![R::ZERO; BAND * (BAND + p - 1)];
        let mut d_filter = vec![R::ZERO; p];
        let which = usize::from(side == Side::Key);
        self.for_each_band(head, position, rows, |d, band, noise| {
            let width = band.rows + p - 1;
            let d_out = Mat::new(&d_out[band.from * r..], band.rows, r);
            let scale = self.encoding.scale() * bound.gates.positional(d);
            let filters = bound.filters(side)[d * taps..][..taps].chunks(p);
            let d_filters = d_params[((which * heads + head) * k + d) * taps..][..taps].chunks_mut(p);
            for ((&run, filter), d_filters) in runs.iter().zip(filters).zip(d_filters) {
                matmul(&mut correlation, Into::Overwrite, d_out, Mat::new(&noise[run * r..], width, r).t());
                d_filter.fill(R::ZERO);
                for i in 0..band.rows {
                    let at = (band.from + i) * k + d;
                    let row = &correlation[i * width + i..][..p];
                    let d_code: R = row.iter().zip(filter).map(|(&c, &w)| c * w).sum();
                    d_x[at] += d_code;
                    d_log_positional[d] += (d_code * x[at]).to_f64();
                    d_filter.iter_mut().zip(row).for_each(|(sum, &c)| *sum += x[at] * c);
                }
                d_filters.iter_mut().zip(&d_filter).for_each(|(sum, &d)| *sum += scale * d.to_f64());
            }
        });
        if gated {
            let d_gates = &mut d_params[2 * heads * k * taps + head * k..][..k];
            for (d, d_gate) in d_gates.iter_mut().enumerate() {
                *d_gate += bound.gates.raw_gradient(d, d_log_positional[d], d_log_constant[d]);
            }
        }
    }
}
