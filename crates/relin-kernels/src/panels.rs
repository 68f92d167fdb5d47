//! Products with a matrix that is reordered once and then multiplied many times, by all threads.
//!
//! `A B` is summed in registers for a few rows of A and a few dozen columns of B at once. B is cut into [`Panels`], so
//! that those columns are read from one place after the other; A is read where it lies, by rows or by columns. What
//! is added afterwards (bias, residual, the former content) joins when a block is written.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::buffers::{self, Buffer};
use crate::real::Real;

/// Columns of a panel: four registers of AVX-512 in single precision.
const WIDTH: usize = 64;

/// A number of which the machine's registers hold several.
pub trait Registers: Real {
    /// A register.
    type Register<S: Simd>: Copy;

    /// A slice as whole registers, and what is left.
    fn split<S: Simd>(x: &[Self]) -> (&[Self::Register<S>], &[Self]);

    /// [`split`](Self::split) to write.
    fn split_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::Register<S>], &mut [Self]);

    /// The same number in every place.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Register<S>;

    /// `a b + c`, rounded once where the processor can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Register<S>,
        b: Self::Register<S>,
        c: Self::Register<S>,
    ) -> Self::Register<S>;
}

macro_rules! registers {
    ($t:ty, $register:ident, $split:ident, $split_mut:ident, $splat:ident, $mul_add:ident) => {
        impl Registers for $t {
            type Register<S: Simd> = S::$register;

            #[inline(always)]
            fn split<S: Simd>(x: &[Self]) -> (&[S::$register], &[Self]) {
                S::$split(x)
            }

            #[inline(always)]
            fn split_mut<S: Simd>(x: &mut [Self]) -> (&mut [S::$register], &mut [Self]) {
                S::$split_mut(x)
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$register {
                simd.$splat(x)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$register, b: S::$register, c: S::$register) -> S::$register {
                simd.$mul_add(a, b, c)
            }
        }
    };
}

registers!(f32, f32s, as_simd_f32s, as_mut_simd_f32s, splat_f32s, mul_add_e_f32s);
registers!(f64, f64s, as_simd_f64s, as_mut_simd_f64s, splat_f64s, mul_add_e_f64s);

/// A matrix B of `inner` rows, cut into panels of columns: each is `[inner, WIDTH]`, the last padded with zeros.
#[derive(Debug)]
pub(crate) struct Panels<R: Real> {
    data: Buffer<R>,
    inner: usize,
    cols: usize,
}

/// The left factor, row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left<'a, R> {
    /// A as it lies.
    Rows(&'a [R]),
    /// The transpose of what lies there.
    Columns(&'a [R]),
}

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plus<'a, R> {
    /// What the destination held.
    Itself,
    /// A row that is the same everywhere, and another matrix.
    Rows {
        bias: Option<&'a [R]>,
        residual: Option<&'a [R]>,
    },
}

impl<R> Plus<'_, R> {
    /// Nothing.
    pub const NOTHING: Self = Self::Rows { bias: None, residual: None };
}

impl<R: Registers> Panels<R> {
    /// Of `b`, row-major, on all threads.
    pub fn of(b: &[R], inner: usize, cols: usize) -> Self {
        Self::cut(b, inner, cols, |panels| panels.into_par_iter().for_each(|(at, panel)| fill(panel, at, b, cols)))
    }

    /// [`of`](Self::of) on this thread.
    pub fn of_serial(b: &[R], inner: usize, cols: usize) -> Self {
        Self::cut(b, inner, cols, |panels| panels.into_iter().for_each(|(at, panel)| fill(panel, at, b, cols)))
    }

    /// Of the transpose of `b`, which is `[cols, inner]` row-major, on all threads.
    pub fn of_transposed(b: &[R], inner: usize, cols: usize) -> Self {
        Self::cut(b, inner, cols, |panels| {
            panels.into_par_iter().for_each(|(at, panel)| fill_transposed(panel, at, b, inner));
        })
    }

    fn cut<'b>(b: &[R], inner: usize, cols: usize, write: impl FnOnce(Vec<(usize, &mut [R])>)) -> Self {
        assert_eq!(b.len(), inner * cols, "{inner}x{cols} from {} elements", b.len());
        let mut data = buffers::take(cols.div_ceil(WIDTH) * WIDTH * inner);
        if inner > 0 {
            write(data.chunks_mut(inner * WIDTH).enumerate().collect());
        }
        Self { data, inner, cols }
    }

    /// `out = A B + plus` on this thread, A being as high as `out`, which is row-major.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn product(&self, out: &mut [R], a: Left<'_, R>, plus: Plus<'_, R>) {
        let cols = self.cols.max(1);
        let rows = out.len() / cols;
        let (Left::Rows(left) | Left::Columns(left)) = a;
        assert_eq!(out.len(), rows * self.cols, "{} elements are no rows of {cols}", out.len());
        assert_eq!(left.len(), rows * self.inner, "a left factor of {} elements, not {rows}x{}", left.len(), self.inner);
        if let Plus::Rows { bias, residual } = plus {
            assert!(bias.is_none_or(|bias| bias.len() == self.cols), "the bias is not as wide as the product");
            assert!(residual.is_none_or(|residual| residual.len() == out.len()), "the residual is of another size");
        }
        pulp::Arch::new().dispatch(Product { panels: self, out, rows, a, plus });
    }
}

fn fill<R: Real>(panel: &mut [R], at: usize, b: &[R], cols: usize) {
    let width = WIDTH.min(cols - at * WIDTH);
    for (row, b) in panel.chunks_exact_mut(WIDTH).zip(b.chunks_exact(cols)) {
        row[..width].copy_from_slice(&b[at * WIDTH..][..width]);
        row[width..].fill(R::ZERO);
    }
}

fn fill_transposed<R: Real>(panel: &mut [R], at: usize, b: &[R], inner: usize) {
    let b = &b[at * WIDTH * inner..];
    let width = WIDTH.min(b.len() / inner);
    for (k, row) in panel.chunks_exact_mut(WIDTH).enumerate() {
        for (j, value) in row[..width].iter_mut().enumerate() {
            *value = b[j * inner + k];
        }
        row[width..].fill(R::ZERO);
    }
}

struct Product<'a, 'b, R: Real> {
    panels: &'b Panels<R>,
    out: &'a mut [R],
    rows: usize,
    a: Left<'b, R>,
    plus: Plus<'b, R>,
}

impl<R: Registers> WithSimd for Product<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let inner = self.panels.inner;
        for at in 0..self.panels.cols.div_ceil(WIDTH) {
            let panel = &self.panels.data[at * inner * WIDTH..][..inner * WIDTH];
            let panel = R::split::<S>(panel).0;
            let mut row = 0;
            while row + 6 <= self.rows {
                self.block::<S, 6>(simd, panel, at * WIDTH, row);
                row += 6;
            }
            if row + 4 <= self.rows {
                self.block::<S, 4>(simd, panel, at * WIDTH, row);
                row += 4;
            }
            if row + 2 <= self.rows {
                self.block::<S, 2>(simd, panel, at * WIDTH, row);
                row += 2;
            }
            if row < self.rows {
                self.block::<S, 1>(simd, panel, at * WIDTH, row);
            }
        }
    }
}

impl<R: Registers> Product<'_, '_, R> {
    /// `M` rows of the product with one panel.
    #[inline(always)]
    fn block<S: Simd, const M: usize>(&mut self, simd: S, panel: &[R::Register<S>], col: usize, row: usize) {
        let mut tile = [[R::ZERO; WIDTH]; M];
        // As many accumulators as the registers hold beside a row of B and a factor.
        if S::REGISTER_COUNT >= 32 {
            self.sums::<S, M, 4>(simd, &mut tile, panel, row);
        } else {
            self.sums::<S, M, 2>(simd, &mut tile, panel, row);
        }
        let width = WIDTH.min(self.panels.cols - col);
        for (i, tile) in tile.iter().enumerate() {
            let from = (row + i) * self.panels.cols + col;
            self.write(from, col, &tile[..width]);
        }
    }

    #[inline(always)]
    fn write(&mut self, from: usize, col: usize, sums: &[R]) {
        let out = &mut self.out[from..][..sums.len()];
        let Plus::Rows { bias, residual } = self.plus else {
            return out.iter_mut().zip(sums).for_each(|(out, &sum)| *out += sum);
        };
        let bias = bias.map(|bias| &bias[col..][..sums.len()]);
        let residual = residual.map(|residual| &residual[from..][..sums.len()]);
        let pairs = out.iter_mut().zip(sums);
        match (bias, residual) {
            (None, None) => out.copy_from_slice(sums),
            (Some(bias), None) => pairs.zip(bias).for_each(|((out, &sum), &b)| *out = sum + b),
            (None, Some(residual)) => pairs.zip(residual).for_each(|((out, &sum), &r)| *out = sum + r),
            (Some(bias), Some(residual)) => {
                pairs.zip(bias.iter().zip(residual)).for_each(|((out, &sum), (&b, &r))| *out = sum + b + r);
            }
        }
    }

    #[inline(always)]
    fn sums<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        tile: &mut [[R; WIDTH]; M],
        panel: &[R::Register<S>],
        row: usize,
    ) {
        let in_row = R::split::<S>(&tile[0]).0.len();
        for first in (0..in_row).step_by(V) {
            let sums = match self.a {
                Left::Rows(a) => {
                    let inner = self.panels.inner;
                    let rows: [&[R]; M] = std::array::from_fn(|i| &a[(row + i) * inner..][..inner]);
                    let factor = #[inline(always)]
                    |k: usize| std::array::from_fn(|i| rows[i][k]);
                    sum_products::<R, S, M, V>(simd, panel, in_row, first, factor)
                }
                Left::Columns(a) => {
                    let (height, rows) = (self.rows, row);
                    let factor = #[inline(always)]
                    |k: usize| {
                        let column = &a[k * height + rows..][..M];
                        std::array::from_fn(|i| column[i])
                    };
                    sum_products::<R, S, M, V>(simd, panel, in_row, first, factor)
                }
            };
            for (tile, sums) in tile.iter_mut().zip(sums) {
                R::split_mut::<S>(tile).0[first..][..V].copy_from_slice(&sums);
            }
        }
    }
}

/// `Σ_k factors(k) ⊗ b_k`, with `b_k` the registers from `first` on of the panel's row k.
#[inline(always)]
fn sum_products<R: Registers, S: Simd, const M: usize, const V: usize>(
    simd: S,
    panel: &[R::Register<S>],
    in_row: usize,
    first: usize,
    factors: impl Fn(usize) -> [R; M],
) -> [[R::Register<S>; V]; M] {
    let mut sums = [[R::splat(simd, R::ZERO); V]; M];
    for (k, b) in panel.chunks_exact(in_row).enumerate() {
        let b: [R::Register<S>; V] = std::array::from_fn(|j| b[first + j]);
        let factors = factors(k);
        for i in 0..M {
            let factor = R::splat(simd, factors[i]);
            for j in 0..V {
                sums[i][j] = R::mul_add(simd, factor, b[j], sums[i][j]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::{Into, Mat, matmul};
    use crate::testing::{assert_close, convert, normals};

    #[test]
    fn equals_the_product_over_odd_sizes_from_either_side() {
        for (m, k, n) in [(0, 3, 2), (1, 1, 1), (2, 0, 5), (5, 7, 64), (6, 9, 65), (13, 31, 130), (27, 64, 63)] {
            let (a, b) = (normals::<f64>(1, m * k), normals::<f64>(2, k * n));
            let (bias, residual) = (normals::<f64>(3, n), normals::<f64>(4, m * n));
            let mut plain = vec![0.0; m * n];
            matmul(&mut plain, Into::Overwrite, Mat::new(&a, m, k), Mat::new(&b, k, n));
            let (mut columns, mut transposed) = (vec![0.0; m * k], vec![0.0; k * n]);
            for i in 0..m * k {
                columns[i % k * m + i / k] = a[i];
            }
            for i in 0..k * n {
                transposed[i % n * k + i / n] = b[i];
            }
            for panels in
                [Panels::of(&b, k, n), Panels::of_serial(&b, k, n), Panels::of_transposed(&transposed, k, n)]
            {
                for left in [Left::Rows(&a), Left::Columns(&columns)] {
                    for (has_bias, has_residual) in [(false, false), (true, false), (false, true), (true, true)] {
                        let (bias, residual) =
                            (has_bias.then_some(&*bias), has_residual.then_some(&*residual));
                        let mut out = vec![f64::NAN; m * n];
                        panels.product(&mut out, left, Plus::Rows { bias, residual });
                        let expected: Vec<f64> = (0..m * n)
                            .map(|i| plain[i] + bias.map_or(0.0, |b| b[i % n]) + residual.map_or(0.0, |r| r[i]))
                            .collect();
                        assert_close("product", &out, &expected, 1e-14);
                        panels.product(&mut out, left, Plus::Itself);
                        let expected: Vec<f64> = expected.iter().zip(&plain).map(|(e, p)| e + p).collect();
                        assert_close("sum", &out, &expected, 1e-14);
                    }
                }
            }
            let mut narrow = vec![f32::NAN; m * n];
            let (a, b) = (convert::<f64, f32>(&a), convert::<f64, f32>(&b));
            Panels::of(&b, k, n).product(&mut narrow, Left::Rows(&a), Plus::NOTHING);
            assert_close("f32", &narrow, &plain, 1e-6);
        }
    }

    #[test]
    #[should_panic(expected = "a left factor of 5 elements, not 2x3")]
    fn refuses_sizes_that_do_not_fit() {
        let panels = Panels::of(&[0.0f32; 12], 3, 4);
        panels.product(&mut [0.0; 8], Left::Rows(&[0.0; 5]), Plus::NOTHING);
    }
}
#[cfg(test)]
#[test]
fn speed() {
    for (m,k,n) in [(256,256,1024),(256,1024,256),(256,256,256),(512,256,512),(1024,1024,1024)] {
        let a = vec![1.0f32; m*k]; let b = vec![1.0f32; k*n]; let mut c = vec![0.0f32; m*n];
        let p = Panels::of_serial(&b, k, n);
        let mut best = [f64::MAX; 4];
        for _ in 0..40 { for w in 0..4 {
            let t = std::time::Instant::now();
            match w { 0 => p.product(&mut c, Left::Rows(&a), Plus::NOTHING), 1 => p.product(&mut c, Left::Columns(&a), Plus::Itself),
             2 => crate::matmul::matmul(&mut c, crate::matmul::Into::Overwrite, crate::matmul::Mat::new(&a, m, k), crate::matmul::Mat::new(&b, k, n)), _ => drop(Panels::of_serial(&b, k, n)) }
            best[w] = best[w].min(t.elapsed().as_secs_f64());
        } }
        println!("{m} {k} {n}: {:?} pack/product {:.3}", best[..3].iter().map(|b| (2.0*(m*k*n) as f64 / b * 1e-9) as u32).collect::<Vec<_>>(), best[3]/best[0]);
    }
}
