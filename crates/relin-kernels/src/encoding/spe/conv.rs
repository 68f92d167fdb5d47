//! convSPE: white noise through two filters a feature, `Q̄_d(n) = Σ_j w^q_dj z_d(n + j)`, and `K̄_d` with `w^k`.
//!
//! ```text
//! P_d(τ) = Σ_j w^q_dj w^k_d,j+τ        zero for |τ| ≥ P
//! ```
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
use super::noise::{Noise, Purpose};
use super::{MOST_REALIZATIONS, NoiseMode, check_count, diagonal};
use crate::encoding::{Agreement, Encoder, Encoding, EncodingError, Parameter, Place, Side, Stage};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;

/// Rows of a banded matrix: fewer waste less of the product on zeros, more make it faster.
const BAND: usize = 32;
/// Rows whose noise is held at once.
const BLOCK: usize = 1024;
const LONGEST: usize = 1 << 20;

/// convSPE. The parameters do not depend on `realizations`: a trained encoding may be built again with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvSpeConfig {
    /// `P`, the length of the filters: lags from P on have no score but the gate's.
    pub kernel_size: usize,
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
    draw: u64,
}

impl ConvSpe {
    /// Builds the encoding of one layer.
    ///
    /// # Errors
    /// If a count is 0 or out of range, the filters are longer than the context, or the noise is `exact`.
    pub fn new(config: &ConvSpeConfig, place: Place) -> Result<Self, EncodingError> {
        check_count("kernel_size", config.kernel_size, config.context.unwrap_or(LONGEST))?;
        check_count("realizations", config.realizations, MOST_REALIZATIONS)?;
        if place.key_dim == 0 {
            return Err(EncodingError::TooNarrow { family: "conv-spe", needed: 1, key_dim: 0 });
        }
        if config.noise == NoiseMode::Exact {
            let expected = "\"redrawn\" or \"frozen\": the exact limit of convSPE has no factorisation (\"sine-exact\" has one)";
            let found = "\"exact\"".into();
            return Err(EncodingError::BadValue { field: "noise", expected: expected.into(), found });
        }
        Ok(Self { config: config.clone(), place, draw: 0 })
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

    /// One head's filters of one side, `[K, P]`.
    fn filters<'a, R>(&self, params: &'a [R], side: Side, head: usize) -> &'a [R] {
        let size = self.place.key_dim * self.config.kernel_size;
        let which = usize::from(side == Side::Key);
        &params[(which * self.place.heads + head) * size..][..size]
    }

    fn gates<R: Real>(&self, params: &[R], head: usize) -> Gates {
        let (k, Place { heads, .. }) = (self.place.key_dim, self.place);
        let raw: Vec<f64> = match self.config.gated {
            true => params[2 * heads * k * self.config.kernel_size + head * k..][..k]
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
                let filters = self.filters(params, side, head).chunks(self.config.kernel_size).enumerate();
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

    /// `P'_d(τ)`; τ = s − t.
    fn covariance<R: Real>(&self, params: &[R], head: usize, d: usize, tau: i64) -> f64 {
        let p = self.config.kernel_size;
        let row = |side| &self.filters(params, side, head)[d * p..][..p];
        let (query, key) = (row(Side::Query), row(Side::Key));
        let term = |(j, w): (usize, &R)| {
            let other = usize::try_from(j as i64 + tau).ok().and_then(|at| key.get(at));
            other.map_or(0.0, |other| w.to_f64() * other.to_f64())
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

    /// `query_filters`, `key_filters`: `[H, K, P]`; `gates`: `[H, K]`.
    fn parameters(&self) -> Vec<Parameter> {
        let Place { key_dim: k, heads, layer } = self.place;
        let p = self.config.kernel_size;
        let code = Noise::new(self.config.seed, 0, (!self.config.shared).then_some(layer));
        let filters = |name, which: usize| {
            let row = |at: usize| code.initial_uniform(at / k, at % k, 2 * p)[which * p..][..p].to_vec();
            let init = (0..heads * k).flat_map(row).map(|w| w / (p as f64 / 2.0).sqrt()).collect();
            Parameter { name, shape: vec![heads, k, p], init }
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

    /// `√(R/K) diag P'_d(−lag)`.
    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        let k = self.place.key_dim;
        let scale = (self.config.realizations as f64 / k as f64).sqrt();
        diagonal(k, |d| scale * self.covariance(params, head, d, -lag))
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
        let (k, p, r) = (self.place.key_dim, self.config.kernel_size, self.config.realizations);
        let (gates, source) = (self.gates(params, head), self.drawn());
        let mut map = vec![0.0; k * r];
        for (d, (row, filter)) in
            map.chunks_mut(r).zip(self.filters(params, side, head).chunks(p)).enumerate()
        {
            let (mut z, mut constant) = (vec![0.0; r], vec![0.0; r]);
            if self.config.gated {
                source.gate(head, d, &mut constant);
            }
            for (j, w) in filter.iter().enumerate() {
                source.code(head, d, position + j as i64, &mut z);
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
        self.config.kernel_size - 1
    }
}

#[derive(Debug)]
struct Bound<R, S> {
    encoding: ConvSpe,
    heads: Vec<Head<R>>,
    source: S,
}

/// One head: filters `[K, P]` times `√(1 − g) (RK)^−¼`, and `√g ε (RK)^−¼`, `[K, R]` or empty.
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

/// Some rows of a call, and the noise of one feature for them.
struct Band<'a, R> {
    /// First row of the band, and their number.
    from: usize,
    rows: usize,
    /// `[rows + P − 1, R]`.
    noise: Mat<'a, R>,
}

impl<R: Real, S: Source<R>> Bound<R, S> {
    /// Calls `band(d, …)` for every feature and band of rows.
    fn for_each_band(
        &self,
        head: usize,
        position: i64,
        rows: usize,
        mut band: impl FnMut(usize, Band<'_, R>),
    ) {
        let (halo, r) = (self.encoding.config.kernel_size - 1, self.encoding.config.realizations);
        let mut noise = vec![R::ZERO; (BLOCK.min(rows) + halo) * r];
        for block in (0..rows).step_by(BLOCK) {
            let in_block = BLOCK.min(rows - block);
            let noise = &mut noise[..(in_block + halo) * r];
            for d in 0..self.encoding.place.key_dim {
                self.source.code(head, d, position + block as i64, noise);
                for from in (0..in_block).step_by(BAND) {
                    let rows = BAND.min(in_block - from);
                    let noise = Mat::new(&noise[from * r..], rows + halo, r);
                    band(d, Band { from: block + from, rows, noise });
                }
            }
        }
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
        let mut a = vec![R::ZERO; BAND * (BAND + p - 1)];
        let mut filled = 0;
        self.for_each_band(head, position, rows, |d, band| {
            let width = band.rows + p - 1;
            let filter = &bound.filters(side)[d * p..][..p];
            if width != std::mem::replace(&mut filled, width) {
                a.fill(R::ZERO);
            }
            for i in 0..band.rows {
                let x = x[(band.from + i) * k + d];
                let row = &mut a[i * width + i..][..p];
                row.iter_mut().zip(filter).for_each(|(a, &w)| *a = x * w);
            }
            let out = &mut out[band.from * r..][..band.rows * r];
            matmul(out, Into::Accumulate, Mat::new(&a, band.rows, width), band.noise);
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
        let rows = x.len() / k;
        let bound = &self.heads[head];
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
        self.for_each_band(head, position, rows, |d, band| {
            let width = band.rows + p - 1;
            let d_out = Mat::new(&d_out[band.from * r..], band.rows, r);
            matmul(&mut correlation, Into::Overwrite, d_out, band.noise.t());
            let filter = &bound.filters(side)[d * p..][..p];
            d_filter.fill(R::ZERO);
            for i in 0..band.rows {
                let at = (band.from + i) * k + d;
                let row = &correlation[i * width + i..][..p];
                let d_code: R = row.iter().zip(filter).map(|(&c, &w)| c * w).sum();
                d_x[at] += d_code;
                d_log_positional[d] += (d_code * x[at]).to_f64();
                d_filter.iter_mut().zip(row).for_each(|(sum, &c)| *sum += x[at] * c);
            }
            let scale = self.encoding.scale() * bound.gates.positional(d);
            let d_filters = &mut d_params[((which * heads + head) * k + d) * p..][..p];
            d_filters.iter_mut().zip(&d_filter).for_each(|(sum, &d)| *sum += scale * d.to_f64());
        });
        if gated {
            let d_gates = &mut d_params[2 * heads * k * p + head * k..][..k];
            for (d, d_gate) in d_gates.iter_mut().enumerate() {
                *d_gate += bound.gates.raw_gradient(d, d_log_positional[d], d_log_constant[d]);
            }
        }
    }
}
