//! The codes of sineSPE, what the sines of a position make of the noise, `[K, R]`: a row of any sequence there is `x · code`.
//!
//! ```text
//! code_m = Σ_s a_cos cos(2π f_ds m + θ_ds) Z_cos + a_sin sin(…) Z_sin + a_1 Z_1          feature by feature
//! ```
//!
//! A code costs `2(2·sines + 1)·K·R` FLOPs, and a row with it `2·K·R`: sequences at the same positions should share codes.

use super::encoder::{Bound, Noise, Sums, for_each_block};
use crate::encoding::Side;
use crate::matmul::{Into, Mat, matmul, matmul_strided};
use crate::simd::Lanes;
use crate::tiles::product_unpacked;

/// Positions whose codes are held at once: 128 KiB of 64 features and 64 realizations in single precision.
const BLOCK: usize = 8;

/// One side of one head, for sequences that begin at one position.
pub(super) struct Together<'a, R> {
    pub bound: &'a Bound<R>,
    pub side: Side,
    pub head: usize,
    pub position: i64,
    pub sequences: usize,
    pub noise: &'a Noise<R>,
}

impl<R: Lanes> Together<'_, R> {
    /// As [`Encoder::encode_sequences`](crate::encoding::Encoder::encode_sequences).
    pub fn encode(&self, x: &[R], out: &mut [R]) {
        let (k, r, rows) = (self.key_dim(), self.realizations(), self.rows(x));
        let mut codes = Codes::new(self, rows);
        for_each_block(rows, BLOCK, |from, n| {
            for (row, code) in (from..).zip(codes.make(self, from, n).chunks(k * r)) {
                let x = Mat::strided(&x[row * k..], self.sequences, k, rows * k);
                product_unpacked(&mut out[row * r..], rows * r, x, Mat::new(code, k, r));
            }
        });
    }

    /// As [`Encoder::vjp_sequences`](crate::encoding::Encoder::vjp_sequences).
    pub fn vjp(&self, x: &[R], d_out: &[R], d_x: &mut [R], d_params: &mut [f64]) {
        let (k, r, rows) = (self.key_dim(), self.realizations(), self.rows(x));
        let mut codes = Codes::new(self, rows);
        let mut d_codes = codes.codes.clone();
        let mut sums = Sums::new(k, self.bound.config.sines);
        for_each_block(rows, BLOCK, |from, n| {
            let d_codes = &mut d_codes[..n * k * r];
            let places = codes.make(self, from, n).chunks(k * r).zip(d_codes.chunks_mut(k * r));
            for (row, (code, d_code)) in (from..).zip(places) {
                let x = Mat::strided(&x[row * k..], self.sequences, k, rows * k);
                let d_out = Mat::strided(&d_out[row * r..], self.sequences, r, rows * r);
                let d_x = &mut d_x[row * k..];
                matmul_strided(d_x, rows * k, Into::Overwrite, d_out, Mat::new(code, k, r).t());
                product_unpacked(d_code, r, x.t(), d_out);
            }
            codes.pull_back(self, from, n, d_codes, &mut sums);
        });
        self.bound.add_parameter_gradients(self.side, self.head, &sums, d_params);
    }

    fn key_dim(&self) -> usize {
        self.bound.place.key_dim
    }

    fn realizations(&self) -> usize {
        self.bound.config.realizations
    }

    /// Rows of a sequence.
    fn rows(&self, x: &[R]) -> usize {
        x.len() / self.key_dim() / self.sequences
    }
}

/// Codes of a block of positions, and room for what they are made of.
struct Codes<R> {
    /// `x` that leaves only the sines, `[n, K]`.
    ones: Vec<R>,
    /// The sines, `[n, 2·sines + 1, K]`.
    u: Vec<R>,
    /// `[n, K, R]`.
    codes: Vec<R>,
}

impl<R: Lanes> Codes<R> {
    fn new(together: &Together<'_, R>, rows: usize) -> Self {
        let (k, n) = (together.key_dim(), BLOCK.min(rows));
        Self {
            ones: vec![R::ONE; n * k],
            u: vec![R::ZERO; n * together.bound.inner_dim],
            codes: vec![R::ZERO; n * k * together.realizations()],
        }
    }

    /// `[n, K, R]`, for `n` rows from row `from` of the sequences on.
    fn make(&mut self, together: &Together<'_, R>, from: usize, n: usize) -> &[R] {
        let (k, r, inner) = (together.key_dim(), together.realizations(), together.bound.inner_dim);
        let (u, codes) = (&mut self.u[..n * inner], &mut self.codes[..n * k * r]);
        let phases = together.bound.heads[together.head].phases(together.side);
        together.bound.fill(phases, together.position + from as i64, &self.ones[..n * k], u);
        for (d, noise) in together.noise.by_feature.chunks(inner / k * r).enumerate() {
            let sines = Mat::every(&u[d..], n, inner - d, inner, k);
            product_unpacked(&mut codes[d * r..], k * r, sines, Mat::new(noise, inner / k, r));
        }
        codes
    }

    /// From the gradient of the codes last made to the sums for the parameters.
    fn pull_back(&self, together: &Together<'_, R>, from: usize, n: usize, d_codes: &[R], sums: &mut Sums) {
        let (k, r, inner) = (together.key_dim(), together.realizations(), together.bound.inner_dim);
        let mut d_u = vec![R::ZERO; n * inner];
        let mut of_feature = vec![R::ZERO; n * inner / k];
        for (d, noise) in together.noise.by_feature.chunks(inner / k * r).enumerate() {
            let d_code = Mat::strided(&d_codes[d * r..], n, r, k * r);
            matmul(&mut of_feature, Into::Overwrite, d_code, Mat::new(noise, inner / k, r).t());
            for (place, d_sine) in d_u.iter_mut().skip(d).step_by(k).zip(&of_feature) {
                *place = *d_sine;
            }
        }
        let phases = together.bound.heads[together.head].phases(together.side);
        let mut d_ones = vec![R::ZERO; n * k];
        let position = together.position + from as i64;
        together.bound.pull_back(phases, position, &self.u[..n * inner], &d_u, &mut d_ones, sums);
    }
}
