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
        let mut gradients = CodeGradients::new(self, rows);
        for_each_block(rows, BLOCK, |from, n| {
            let places = codes.make(self, from, n).chunks(k * r).zip(gradients.codes.chunks_mut(k * r));
            for (row, (code, d_code)) in (from..).zip(places) {
                let x = Mat::strided(&x[row * k..], self.sequences, k, rows * k);
                let d_out = Mat::strided(&d_out[row * r..], self.sequences, r, rows * r);
                let d_x = &mut d_x[row * k..];
                matmul_strided(d_x, rows * k, Into::Overwrite, d_out, Mat::new(code, k, r).t());
                product_unpacked(d_code, r, x.t(), d_out);
            }
            gradients.pull_back(self, from, n, &codes.u);
        });
        self.bound.add_parameter_gradients(self.side, self.head, &gradients.sums, d_params);
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
}

/// Gradients of what [`Codes`] holds, and the parameters' sums of all blocks so far.
struct CodeGradients<R> {
    /// `[n, K, R]`.
    codes: Vec<R>,
    /// `[n, 2·sines + 1, K]`.
    u: Vec<R>,
    /// One feature's of `u`, `[n, 2·sines + 1]`.
    of_feature: Vec<R>,
    /// Written, and of no use.
    ones: Vec<R>,
    sums: Sums,
}

impl<R: Lanes> CodeGradients<R> {
    fn new(together: &Together<'_, R>, rows: usize) -> Self {
        let (k, inner, n) = (together.key_dim(), together.bound.inner_dim, BLOCK.min(rows));
        let zeros = |of_row| vec![R::ZERO; n * of_row];
        Self {
            codes: zeros(k * together.realizations()),
            u: zeros(inner),
            of_feature: zeros(inner / k),
            ones: zeros(k),
            sums: Sums::new(k, together.bound.config.sines),
        }
    }

    /// From `codes` of the `n` rows from row `from` on, whose sines are `u`, to `sums`.
    fn pull_back(&mut self, together: &Together<'_, R>, from: usize, n: usize, u: &[R]) {
        let (k, r, inner) = (together.key_dim(), together.realizations(), together.bound.inner_dim);
        let (d_u, of_feature) = (&mut self.u[..n * inner], &mut self.of_feature[..n * inner / k]);
        for (d, noise) in together.noise.by_feature.chunks(inner / k * r).enumerate() {
            let d_code = Mat::strided(&self.codes[d * r..], n, r, k * r);
            matmul(of_feature, Into::Overwrite, d_code, Mat::new(noise, inner / k, r).t());
            for (place, d_sine) in d_u.iter_mut().skip(d).step_by(k).zip(&*of_feature) {
                *place = *d_sine;
            }
        }
        let phases = together.bound.heads[together.head].phases(together.side);
        let (position, d_ones) = (together.position + from as i64, &mut self.ones[..n * k]);
        together.bound.pull_back(phases, position, &u[..n * inner], d_u, d_ones, &mut self.sums);
    }
}
