//! convSPE bound to its parameters: codes, band by band, and what rows make of them.
//!
//! Noise at a position is a function of the position, so a block of n rows needs nothing but its own n + P − 1 noise
//! rows. A band of filters is a banded matrix, `A_ij = w_{j−i}`, whose product with the noise is the code of feature d
//! at those positions, `[rows, R]`. It is the dear part, and is made once for all sequences at these positions.

use rayon::prelude::*;

use super::{ConvSpe, ConvSpeConfig, Source};
use crate::encoding::spe::gate::Gates;
use crate::encoding::spe::lattice::{BAND, Band};
use crate::encoding::{Encoder, Place, Side};
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::reduce::sum2;
use crate::simd::dispatch;

/// Rows whose noise is held at once.
const BLOCK: usize = 1024;

#[derive(Debug)]
pub(super) struct Bound<R, S> {
    encoding: ConvSpe,
    heads: Vec<Head<R>>,
    /// How far, in noise, each run of P taps lies from the first.
    runs: Vec<usize>,
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

impl<R: Real> Head<R> {
    fn new(encoding: &ConvSpe, params: &[R], source: &impl Source<R>, head: usize) -> Self {
        let (k, r) = (encoding.place.key_dim, encoding.config.realizations);
        let gates = encoding.gates(params, head);
        let mut constant = Vec::new();
        if encoding.config.gated {
            constant.resize(k * r, R::ZERO);
            for (d, row) in constant.chunks_mut(r).enumerate() {
                source.gate(head, d, row);
                row.iter_mut().for_each(|e| *e *= R::from_f64(encoding.scale() * gates.constant(d)));
            }
        }
        let filters = |side| {
            let filters = encoding.filters(params, side, head).chunks(encoding.lattice.taps()).enumerate();
            let scaled = |(d, row): (usize, &[R])| {
                let scale = R::from_f64(encoding.scale() * gates.positional(d));
                row.iter().map(|&w| w * scale).collect::<Vec<_>>()
            };
            filters.flat_map(scaled).collect::<Vec<_>>()
        };
        Self { query: filters(Side::Query), key: filters(Side::Key), gates, constant }
    }

    fn filters(&self, side: Side) -> &[R] {
        match side {
            Side::Query => &self.query,
            Side::Key => &self.key,
        }
    }
}

impl<R: Real, S: Source<R>> Bound<R, S> {
    pub fn new(encoding: ConvSpe, params: &[R], source: S) -> Self {
        let head = |head: usize| Head::new(&encoding, params, &source, head);
        let heads = (0..encoding.place.heads).into_par_iter().map(head).collect();
        let runs = encoding.lattice.runs().collect();
        Self { encoding, heads, runs, source }
    }

    /// Calls `band(d, band, code, noise)` for every feature and band of rows: the code `[rows, R]`, without the gate's
    /// constant part, and the noise from that of the band's first cell on.
    fn for_each_code(
        &self,
        side: Side,
        head: usize,
        position: i64,
        rows: usize,
        mut band: impl FnMut(usize, Band, &[R], &[R]),
    ) {
        let ConvSpeConfig { kernel_size: p, realizations: r, .. } = self.encoding.config;
        let (lattice, filters) = (&self.encoding.lattice, self.heads[head].filters(side));
        let (mut banded, mut code, mut noise) = (Banded::new(p), vec![R::ZERO; BAND * r], Vec::new());
        for block in (0..rows).step_by(BLOCK) {
            let (first, in_block) = (position + block as i64, BLOCK.min(rows - block));
            let range = lattice.noise_of(first, in_block);
            let bands = lattice.bands(first, in_block);
            noise.resize((range.end - range.start) as usize * r, R::ZERO);
            for (d, filter) in filters.chunks(lattice.taps()).enumerate() {
                self.source.code(head, d, range.start, &mut noise);
                for &Band { from, rows, noise: at } in &bands {
                    let (noise, code) = (&noise[(at - range.start) as usize * r..], &mut code[..rows * r]);
                    code.fill(R::ZERO);
                    for (run, filter) in self.runs.iter().zip(filter.chunks(p)) {
                        let noise = Mat::new(&noise[run * r..], rows + p - 1, r);
                        matmul(code, Into::Accumulate, banded.fill(rows, filter), noise);
                    }
                    band(d, Band { from: block + from, rows, noise: at }, code, noise);
                }
            }
        }
    }

    /// Adds a band's gradient for one feature's filter, `Σ_i d_code_i · z(i + j)` of tap j, times `scale`.
    fn add_filter_gradient(
        &self,
        d_code: &[R],
        noise: &[R],
        scale: f64,
        correlation: &mut [R],
        d_filter: &mut [f64],
    ) {
        let ConvSpeConfig { kernel_size: p, realizations: r, .. } = self.encoding.config;
        let rows = d_code.len() / r;
        let width = rows + p - 1;
        let d_code = Mat::new(d_code, rows, r);
        for (&run, d_filter) in self.runs.iter().zip(d_filter.chunks_mut(p)) {
            matmul(correlation, Into::Overwrite, d_code, Mat::new(&noise[run * r..], width, r).t());
            let (sum, others) = correlation.split_at_mut(width);
            for (i, other) in (1..rows).zip(others.chunks(width)) {
                sum[..p].iter_mut().zip(&other[i..]).for_each(|(sum, &c)| *sum += c);
            }
            d_filter.iter_mut().zip(sum).for_each(|(d, sum)| *d += scale * sum.to_f64());
        }
    }
}

/// `A_ij = w_{j−i}`: a filter at each of some consecutive cells, as a matrix to multiply noise by.
struct Banded<R> {
    a: Vec<R>,
    /// Columns that the zeros of `a` belong to.
    width: usize,
}

impl<R: Real> Banded<R> {
    fn new(kernel_size: usize) -> Self {
        Self { a: vec![R::ZERO; BAND * (BAND + kernel_size - 1)], width: 0 }
    }

    /// For P taps next to each other.
    fn fill(&mut self, rows: usize, filter: &[R]) -> Mat<'_, R> {
        let width = rows + filter.len() - 1;
        if width != std::mem::replace(&mut self.width, width) {
            self.a.fill(R::ZERO);
        }
        for i in 0..rows {
            self.a[i * width + i..][..filter.len()].copy_from_slice(filter);
        }
        Mat::new(&self.a, rows, width)
    }
}

impl<R: Real, S: Source<R>> Encoder<R> for Bound<R, S> {
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
        let (k, r) = (self.encoding.place.key_dim, self.encoding.config.realizations);
        match self.heads[head].constant.as_slice() {
            [] => out.fill(R::ZERO),
            constant => matmul(out, Into::Overwrite, Mat::new(x, x.len() / k, k), Mat::new(constant, k, r)),
        }
        let rows = x.len() / k / sequences;
        self.for_each_code(side, head, position, rows, |d, band, code, _| {
            dispatch(
                #[inline(always)]
                || {
                    for sequence in 0..sequences {
                        for (i, code) in code.chunks_exact(r).enumerate() {
                            let row = sequence * rows + band.from + i;
                            add_scaled(&mut out[row * r..][..r], x[row * k + d], code);
                        }
                    }
                },
            );
        });
    }

    /// The codes themselves, with their constant part.
    fn maps(&self, side: Side, head: usize, first: i64, rows: usize, k: usize, out: &mut [R]) {
        let r = self.encoding.config.realizations;
        let constant = &self.heads[head].constant;
        self.for_each_code(side, head, first, rows, |d, band, code, _| {
            for (i, code) in code.chunks(r).enumerate() {
                let map = &mut out[((band.from + i) * k + d) * r..][..r];
                map.copy_from_slice(code);
                let constant = constant.get(d * r..(d + 1) * r).unwrap_or_default();
                map.iter_mut().zip(constant).for_each(|(map, &constant)| *map += constant);
            }
        });
    }

    fn vjp(
        &self,
        side: Side,
        head: usize,
        position: i64,
        x: &[R],
        encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        self.vjp_sequences(side, head, position, 1, x, encoded, d_out, d_x, d_params);
    }

    fn vjp_sequences(
        &self,
        side: Side,
        head: usize,
        position: i64,
        sequences: usize,
        x: &[R],
        _encoded: &[R],
        d_out: &[R],
        d_x: &mut [R],
        d_params: &mut [f64],
    ) {
        let ConvSpeConfig { kernel_size: p, realizations: r, gated, .. } = self.encoding.config;
        let Place { key_dim: k, heads, .. } = self.encoding.place;
        let (rows, taps, bound) = (x.len() / k / sequences, self.encoding.lattice.taps(), &self.heads[head]);
        let mut d_log_constant = vec![0.0; k];
        d_x.fill(R::ZERO);
        if gated {
            let d_out = Mat::new(d_out, x.len() / k, r);
            matmul(d_x, Into::Overwrite, d_out, Mat::new(&bound.constant, k, r).t());
            for (at, (d, x)) in d_x.iter().zip(x).enumerate() {
                d_log_constant[at % k] += (*d * *x).to_f64();
            }
        }
        let mut d_log_positional = vec![0.0; k];
        let mut d_code = vec![R::ZERO; BAND * r];
        let mut correlation = vec![R::ZERO; BAND * (BAND + p - 1)];
        let which = usize::from(side == Side::Key);
        self.for_each_code(side, head, position, rows, |d, band, code, noise| {
            let d_code = &mut d_code[..band.rows * r];
            d_code.fill(R::ZERO);
            dispatch(
                #[inline(always)]
                || {
                    for sequence in 0..sequences {
                        let codes = code.chunks_exact(r).zip(d_code.chunks_exact_mut(r)).enumerate();
                        for (i, (code, d_code)) in codes {
                            let row = sequence * rows + band.from + i;
                            let (x, d_out) = (x[row * k + d], &d_out[row * r..][..r]);
                            let of_x = sum2(d_out, code, |d, code| d * code);
                            d_x[row * k + d] += of_x;
                            d_log_positional[d] += (of_x * x).to_f64();
                            add_scaled(d_code, x, d_out);
                        }
                    }
                },
            );
            let scale = self.encoding.scale() * bound.gates.positional(d);
            let d_filter = &mut d_params[((which * heads + head) * k + d) * taps..][..taps];
            self.add_filter_gradient(d_code, noise, scale, &mut correlation, d_filter);
        });
        if gated {
            let d_gates = &mut d_params[2 * heads * k * taps + head * k..][..k];
            for (d, d_gate) in d_gates.iter_mut().enumerate() {
                *d_gate += bound.gates.raw_gradient(d, d_log_positional[d], d_log_constant[d]);
            }
        }
    }
}

/// `out += weight row`.
#[inline(always)]
fn add_scaled<R: Real>(out: &mut [R], weight: R, row: &[R]) {
    for (out, &x) in out.iter_mut().zip(row) {
        *out += weight * x;
    }
}
