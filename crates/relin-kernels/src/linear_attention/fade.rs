//! Decay of scores and states within the chunked form.
//!
//! In a chunk whose rows are `i = 0, 1, …`, queries are multiplied by `λ^{i+1}` and keys by `λ^{−(i+1)}`, both after the
//! encoding. Then a score carries `λ^{lag}`, a query reads the state as of the key before the chunk, and the chunk ends with
//! `S ← λ^n (S + K̃^T V)`: the products are those without decay. The powers never leave the chunk, and chunks are short enough
//! for them, so nothing overflows however long the sequence.

use std::borrow::Cow;

use super::LinearAttention;
use super::border::Border;
use crate::encoding::{Decay, Side};
use crate::fast_math::FastMath;
use crate::simd::dispatch;
use crate::tiles::Tile;

/// Powers of two by which rows of a chunk may differ: beside scores of f32's range, and far from its ends.
const RANGE: f64 = 40.0;

/// One head's decay.
#[derive(Clone, Debug)]
pub(super) struct Fade<R> {
    /// One for all features, or one for each.
    lambdas: Vec<f64>,
    /// `λ^{i+1}` of the rows i of a chunk, `[C, lambdas]`.
    queries: Vec<R>,
    /// `λ^{−(i+1)}`.
    keys: Vec<R>,
}

impl<R: FastMath> LinearAttention<R> {
    /// Itself, with chunks short enough for its decay.
    pub(super) fn with_fitting_chunk(&self) -> Cow<'_, Self> {
        let bits = |lambda: f64| -lambda.log2();
        let steepest = (0..self.heads).flat_map(|head| lambdas(self, head)).map(bits).fold(0.0, f64::max);
        let longest = ((RANGE / steepest) as usize).max(1);
        if self.chunk <= longest {
            Cow::Borrowed(self)
        } else {
            Cow::Owned(Self { chunk: longest, ..self.clone() })
        }
    }
}

fn lambdas<R: FastMath>(attention: &LinearAttention<R>, head: usize) -> Vec<f64> {
    match attention.encoding.decay(head) {
        Decay::None => vec![1.0],
        Decay::Uniform(lambda) => vec![lambda],
        Decay::PerFeature(lambdas) => lambdas,
    }
}

impl<R: FastMath> Fade<R> {
    /// Of every head; empty if none decays.
    pub fn of_heads(attention: &LinearAttention<R>) -> Vec<Self> {
        if !attention.decays() {
            return Vec::new();
        }
        (0..attention.heads).map(|head| Self::new(lambdas(attention, head), attention.chunk)).collect()
    }

    fn new(lambdas: Vec<f64>, chunk: usize) -> Self {
        let powers = |sign: f64| {
            let row =
                |i: usize| lambdas.iter().map(move |lambda| R::from_f64(lambda.powf(sign * (i + 1) as f64)));
            (0..chunk).flat_map(row).collect()
        };
        Self { queries: powers(1.0), keys: powers(-1.0), lambdas }
    }

    /// `λ^n` of each feature, or of all.
    fn power(&self, n: usize) -> Vec<R> {
        self.lambdas.iter().map(|lambda| R::from_f64(lambda.powf(n as f64))).collect()
    }

    /// Multiplies rows, the first being row `from` of the chunk, by their power.
    pub fn apply<'x>(&self, side: Side, from: usize, rows: impl Iterator<Item = &'x mut [R]>) {
        let powers = match side {
            Side::Query => &self.queries,
            Side::Key => &self.keys,
        };
        for (row, powers) in rows.zip(powers.chunks(self.lambdas.len()).skip(from)) {
            scale(row, powers);
        }
    }

    /// Takes [`apply`](Self::apply) back.
    pub fn undo<'x>(&self, side: Side, rows: impl Iterator<Item = &'x mut [R]>) {
        let other = match side {
            Side::Query => Side::Key,
            Side::Key => Side::Query,
        };
        self.apply(other, 0, rows);
    }

    /// Makes rows of a chunk carry the powers of the row as far from its other end.
    pub fn turn<'x>(&self, side: Side, rows: impl ExactSizeIterator<Item = &'x mut [R]>) {
        let (own, other) = match side {
            Side::Query => (&self.queries, &self.keys),
            Side::Key => (&self.keys, &self.queries),
        };
        let (n, width) = (rows.len(), self.lambdas.len());
        for (i, row) in rows.enumerate() {
            scale(row, &other[i * width..][..width]);
            scale(row, &own[(n - 1 - i) * width..][..width]);
        }
    }

    /// Multiplies rows by `λ^n`.
    pub fn pass<'x>(&self, n: usize, rows: impl Iterator<Item = &'x mut [R]>) {
        let powers = self.power(n);
        rows.for_each(|row| scale(row, &powers));
    }

    /// A state n tokens later: S, its rows `width` long, and z.
    pub fn pass_state(&self, n: usize, s: &mut [R], width: usize, z: &mut [R]) {
        let powers = self.power(n);
        for (row, powers) in s.chunks_mut(width).zip(powers.chunks(1).cycle()) {
            scale(row, powers);
        }
        scale(z, &powers);
    }

    /// [`pass_state`](Self::pass_state) of a border.
    pub fn pass_border(&self, n: usize, border: &mut Border<R>) {
        let width = border.s.stride();
        self.pass_state(n, border.s.data_mut(), width, &mut border.z);
    }

    /// [`pass_border`](Self::pass_border) for a border that holds `S^T`.
    pub fn pass_transposed(&self, n: usize, s_t: &mut Tile<R>, z: &mut [R]) {
        self.pass(n, (s_t.rows_mut()).chain([z]));
    }
}

/// Multiplies a row by one factor, or each element by its own.
fn scale<R: FastMath>(row: &mut [R], factors: &[R]) {
    dispatch(
        #[inline(always)]
        || match *factors {
            [factor] => row.iter_mut().for_each(|x| *x *= factor),
            _ => row.iter_mut().zip(factors).for_each(|(x, &factor)| *x *= factor),
        },
    );
}
