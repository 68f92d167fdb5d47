//! Logits whose features decay at their own rates: `s_ij = Σ_c λ_c^|t_j − s_i| q_ic k_jc`.
//!
//! For keys up to the query, `λ^(s − t) = λ^(s − o) λ^(o − t)`: the rows of a block are multiplied by powers relative to an
//! origin `o` of its own, the first query; for keys after the query likewise with the last query. All exponents
//! are then positive, except in blocks that hold both sides, where they are no less than minus two blocks. A block of both
//! sides takes two products, each used on its side.

use super::logits::{Block, factor};
use crate::buffers::{self, Buffer};
use crate::encoding::bias::Lags;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::simd::dispatch;

/// λ of each feature.
pub(super) struct PerFeature<'a> {
    pub lambdas: &'a [f64],
}

/// Keys up to the query, or after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Past,
    Future,
}

impl Side {
    /// The sides that a block has visible pairs on.
    fn of<R>(block: &Block<'_, R>) -> &'static [Self] {
        let lags = block.lags.ascending();
        match (lags.start <= 0, lags.end > 1 && !block.causal) {
            (true, true) => &[Self::Past, Self::Future],
            (false, true) => &[Self::Future],
            _ => &[Self::Past],
        }
    }

    /// Clears the other side of a block.
    fn keep<R: FastMath>(self, block: &mut [R], lags: Lags) {
        for (r, row) in block.chunks_exact_mut(lags.keys()).enumerate() {
            let (past, future) = row.split_at_mut(lags.below(r, 1));
            if self == Self::Past { future.fill(R::ZERO) } else { past.fill(R::ZERO) }
        }
    }
}

/// A block's rows on one side.
struct Decayed<R: FastMath> {
    /// Powers of λ that belong to the queries, `[rows, K]`, and to the keys, `[keys, K]`.
    powers: [Buffer<R>; 2],
    /// Queries and keys times them.
    rows: [Buffer<R>; 2],
}

impl PerFeature<'_> {
    pub fn logits<R: FastMath>(&self, out: &mut [R], block: Block<'_, R>) {
        let sides = Side::of(&block);
        self.product(out, block, sides[0]);
        if let [_, side] = sides {
            let mut other = buffers::take(out.len());
            self.product(&mut other, block, *side);
            let keys = block.lags.keys();
            for (r, (row, other)) in out.chunks_exact_mut(keys).zip(other.chunks_exact(keys)).enumerate() {
                let past = block.lags.below(r, 1);
                row[past..].copy_from_slice(&other[past..]);
            }
        }
    }

    fn product<R: FastMath>(&self, out: &mut [R], block: Block<'_, R>, side: Side) {
        let Decayed { rows: [q, k], .. } = self.decayed(block, side);
        let [q, k] = self.matrices(block.lags, [&q, &k]);
        matmul(out, Into::Overwrite, q, k.t());
    }

    /// Adds to the gradients of q and k.
    pub fn vjp<R: FastMath>(&self, d: &[R], block: Block<'_, R>, dq: &mut [R], dk: &mut [R]) {
        let sides = Side::of(&block);
        if let [side] = sides {
            return self.side_vjp(d, block, *side, dq, dk);
        }
        for &side in sides {
            let mut one = buffers::take(d.len());
            one.copy_from_slice(d);
            side.keep(&mut one, block.lags);
            self.side_vjp(&one, block, side, dq, dk);
        }
    }

    fn side_vjp<R: FastMath>(&self, d: &[R], block: Block<'_, R>, side: Side, dq: &mut [R], dk: &mut [R]) {
        let Decayed { powers, rows: [q, k] } = self.decayed(block, side);
        let [q, k] = self.matrices(block.lags, [&q, &k]);
        let d = Mat::new(d, block.lags.rows(), block.lags.keys());
        for (out, powers, left, right) in [(dq, &powers[0], d, k), (dk, &powers[1], d.t(), q)] {
            let mut product = buffers::take(out.len());
            matmul(&mut product, Into::Overwrite, left, right);
            dispatch(
                #[inline(always)]
                || {
                    for ((out, &product), &power) in out.iter_mut().zip(&*product).zip(&**powers) {
                        *out += product * power;
                    }
                },
            );
        }
    }

    fn matrices<'m, R: FastMath>(&self, lags: Lags, [q, k]: [&'m [R]; 2]) -> [Mat<'m, R>; 2] {
        let width = self.lambdas.len();
        [Mat::new(q, lags.rows(), width), Mat::new(k, lags.keys(), width)]
    }

    fn decayed<R: FastMath>(&self, block: Block<'_, R>, side: Side) -> Decayed<R> {
        let (lags, width) = (block.lags, self.lambdas.len());
        let last_key = lags.keys() as i64 - 1;
        let (first, origin_lag) = (lags.start_of(0), lags.ascending().start);
        let powers = match side {
            Side::Past => {
                [self.powers(lags.rows(), 0, false), self.powers(lags.keys(), -(first + last_key), true)]
            }
            Side::Future => [self.powers(lags.rows(), 0, true), self.powers(lags.keys(), origin_lag, false)],
        };
        let mut rows = [buffers::take(lags.rows() * width), buffers::take(lags.keys() * width)];
        let q = Mat::new(block.q, lags.rows(), width);
        for ((out, powers), x) in rows.iter_mut().zip(&powers).zip([q, block.k]) {
            for (r, (out, powers)) in out.chunks_exact_mut(width).zip(powers.chunks_exact(width)).enumerate()
            {
                for ((out, &power), &x) in out.iter_mut().zip(powers).zip(x.row(r)) {
                    *out = power * x;
                }
            }
        }
        Decayed { powers, rows }
    }

    /// `λ_c^(least + i)` for row i, or for the i-th row from the last one.
    fn powers<R: FastMath>(&self, rows: usize, least: i64, from_the_last: bool) -> Buffer<R> {
        let width = self.lambdas.len();
        let mut out = buffers::take(rows * width);
        let mut power: Vec<f64> = self.lambdas.iter().map(|lambda| lambda.powf(least as f64)).collect();
        for i in 0..rows {
            let row = if from_the_last { rows - 1 - i } else { i };
            for ((out, power), lambda) in
                out[row * width..][..width].iter_mut().zip(&mut power).zip(self.lambdas)
            {
                *out = factor(*power);
                *power *= lambda;
            }
        }
        out
    }
}
