//! Products with a matrix that is reordered once and then multiplied many times, by all threads.
//!
//! `A B` is summed in registers for a few rows of A and a few dozen columns of B at once. B is cut into [`Panels`], so
//! that those columns are read from one place after the other and stay in the first cache level; A is read where it
//! lies, by rows, or copied block by block if it lies by columns. What is added afterwards (bias, residual, the former
//! content) joins when a block is written.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::buffers::{self, Buffer};
use crate::simd::{Lanes, with_simd};

/// Columns of a panel: four registers of AVX-512 in single precision.
const WIDTH: usize = 64;
/// Blocks of rows of A that are copied at a time when A lies by columns.
const BLOCKS: usize = 8;
/// Bytes of a cache line: a register's worth of a panel shall not lie on two.
const LINE: usize = 64;

/// A matrix B of `inner` rows, cut into panels of columns: each is `[inner, WIDTH]`, the last padded with zeros.
#[derive(Debug)]
pub(crate) struct Panels<R: Lanes> {
    data: Buffer<R>,
    /// Where the first aligned element lies.
    start: usize,
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

impl<R: Lanes> Panels<R> {
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
        let len = cols.div_ceil(WIDTH) * WIDTH * inner;
        let mut data: Buffer<R> = buffers::take(len + LINE);
        let start = data.as_ptr().align_offset(LINE).min(LINE);
        if inner > 0 {
            write(data[start..][..len].chunks_mut(inner * WIDTH).enumerate().collect());
        }
        Self { data, start, inner, cols }
    }

    /// Rows of B.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Columns of B.
    pub fn cols(&self) -> usize {
        self.cols
    }

    fn count(&self) -> usize {
        self.cols.div_ceil(WIDTH)
    }

    fn panel(&self, at: usize) -> &[R] {
        &self.data[self.start + at * self.inner * WIDTH..][..self.inner * WIDTH]
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
        with_simd(Product { panels: self, out, rows, a, plus });
    }
}

fn fill<R: Lanes>(panel: &mut [R], at: usize, b: &[R], cols: usize) {
    let width = WIDTH.min(cols - at * WIDTH);
    for (row, b) in panel.chunks_exact_mut(WIDTH).zip(b.chunks_exact(cols)) {
        row[..width].copy_from_slice(&b[at * WIDTH..][..width]);
        row[width..].fill(R::ZERO);
    }
}

/// Rows of the source are read a cache line at a time.
fn fill_transposed<R: Lanes>(panel: &mut [R], at: usize, b: &[R], inner: usize) {
    let b = &b[at * WIDTH * inner..];
    let run = LINE / size_of::<R>();
    for (block, panel) in panel.chunks_mut(run * WIDTH).enumerate() {
        let rows = panel.len() / WIDTH;
        for j in 0..WIDTH {
            match b.get(j * inner + block * run..).filter(|b| b.len() >= rows) {
                Some(b) => (0..rows).for_each(|k| panel[k * WIDTH + j] = b[k]),
                None => (0..rows).for_each(|k| panel[k * WIDTH + j] = R::ZERO),
            }
        }
    }
}

struct Product<'a, 'b, R: Lanes> {
    panels: &'b Panels<R>,
    out: &'a mut [R],
    rows: usize,
    a: Left<'b, R>,
    plus: Plus<'b, R>,
}

impl<R: Lanes> WithSimd for Product<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many accumulators as the registers hold beside a row of B and a factor.
        if S::REGISTER_COUNT >= 32 { self.run::<S, 6, 4>(simd) } else { self.run::<S, 6, 2>(simd) }
    }
}

impl<R: Lanes> Product<'_, '_, R> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(mut self, simd: S) {
        match self.a {
            Left::Rows(a) => self.by_rows::<S, M, V>(simd, a),
            Left::Columns(a) => self.by_columns::<S, M, V>(simd, a),
        }
    }

    #[inline(always)]
    fn by_rows<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, a: &[R]) {
        let inner = self.panels.inner;
        for at in 0..self.panels.count() {
            for row in (0..self.rows).step_by(M) {
                let last = self.rows - 1;
                let rows: [&[R]; M] = std::array::from_fn(|i| &a[(row + i).min(last) * inner..][..inner]);
                self.block::<S, M, V>(
                    simd,
                    at,
                    row,
                    #[inline(always)]
                    |k| std::array::from_fn(|i| rows[i][k]),
                );
            }
        }
    }

    /// A few dozen columns of `a`, which are rows of A, are copied so that each `M` of them lie side by side.
    #[inline(always)]
    fn by_columns<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, a: &[R]) {
        let inner = self.panels.inner;
        let mut group: Buffer<R> = buffers::take(BLOCKS * M * inner);
        for first in (0..self.rows).step_by(BLOCKS * M) {
            let width = (self.rows - first).min(BLOCKS * M);
            for (k, row) in a.chunks_exact(self.rows).enumerate() {
                let (whole, rest) = row[first..][..width].as_chunks::<M>();
                for (block, x) in whole.iter().enumerate() {
                    group[(block * inner + k) * M..][..M].copy_from_slice(x);
                }
                if !rest.is_empty() {
                    let place = &mut group[(whole.len() * inner + k) * M..][..M];
                    place[..rest.len()].copy_from_slice(rest);
                    place[rest.len()..].fill(R::ZERO);
                }
            }
            for at in 0..self.panels.count() {
                for block in 0..width.div_ceil(M) {
                    let a = &group[block * inner * M..][..inner * M].as_chunks::<M>().0[..inner];
                    self.block::<S, M, V>(
                        simd,
                        at,
                        first + block * M,
                        #[inline(always)]
                        |k| a[k],
                    );
                }
            }
        }
    }

    /// At most `M` rows of the product with one panel.
    #[inline(always)]
    fn block<S: Simd, const M: usize, const V: usize>(
        &mut self,
        simd: S,
        at: usize,
        row: usize,
        factors: impl Fn(usize) -> [R; M],
    ) {
        let inner = self.panels.inner;
        for first in (0..WIDTH).step_by(V * R::lanes::<S>()) {
            let sums =
                sum_products::<R, S, M, V>(simd, self.panels.panel(at), inner, first, &factors);
            for (i, sums) in sums.into_iter().enumerate().take(self.rows - row) {
                for (j, sum) in sums.into_iter().enumerate() {
                    self.write(simd, row + i, at * WIDTH + first + j * R::lanes::<S>(), sum);
                }
            }
        }
    }

    /// Writes a register of sums, what is added to it included.
    #[inline(always)]
    fn write<S: Simd>(&mut self, simd: S, row: usize, col: usize, sum: R::Vector<S>) {
        let (cols, lanes) = (self.panels.cols, R::lanes::<S>());
        if col + lanes > cols {
            return self.write_rest::<S>(row, col, sum);
        }
        let at = row * cols + col;
        let out = &mut self.out[at..][..lanes];
        let sum = match self.plus {
            Plus::Itself => R::add_lanes(simd, sum, R::load::<S>(out)),
            Plus::Rows { bias, residual } => {
                let sum = bias.map_or(sum, |bias| R::add_lanes(simd, sum, R::load::<S>(&bias[col..][..lanes])));
                residual.map_or(sum, |x| R::add_lanes(simd, sum, R::load::<S>(&x[at..][..lanes])))
            }
        };
        R::store::<S>(out, sum);
    }

    /// [`write`](Self::write) of a register that hangs over the edge, or lies beyond it.
    #[inline(never)]
    fn write_rest<S: Simd>(&mut self, row: usize, col: usize, sum: R::Vector<S>) {
        let cols = self.panels.cols;
        let mut sums = [R::ZERO; WIDTH];
        R::store::<S>(&mut sums[..R::lanes::<S>()], sum);
        for (col, &sum) in (col..cols).zip(&sums) {
            let at = row * cols + col;
            self.out[at] = match self.plus {
                Plus::Itself => self.out[at] + sum,
                Plus::Rows { bias, residual } => {
                    sum + bias.map_or(R::ZERO, |bias| bias[col]) + residual.map_or(R::ZERO, |x| x[at])
                }
            };
        }
    }
}

/// `Σ_k factors(k) ⊗ b_k`, with `b_k` the registers from `first` on of the panel's row k.
#[inline(always)]
fn sum_products<R: Lanes, S: Simd, const M: usize, const V: usize>(
    simd: S,
    panel: &[R],
    inner: usize,
    first: usize,
    factors: impl Fn(usize) -> [R; M],
) -> [[R::Vector<S>; V]; M] {
    let lanes = R::lanes::<S>();
    let mut sums = [[R::splat(simd, R::ZERO); V]; M];
    for (k, b) in (0..inner).zip(panel.chunks_exact(WIDTH)) {
        let b: [R::Vector<S>; V] = std::array::from_fn(#[inline(always)] |j| R::load::<S>(&b[first + j * lanes..][..lanes]));
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
    for (m,k,n) in [(256,256,1024),(256,1024,256),(256,256,256),(512,256,512),(1024,256,256),(1024,1024,1024)] {
        let a = vec![1.0f32; m*k]; let b = vec![1.0f32; k*n]; let mut c = vec![0.0f32; m*n];
        let p = Panels::of_serial(&b, k, n);
        let mut best = [f64::MAX; 4];
        for _ in 0..40 { for w in 0..4 {
            let t = std::time::Instant::now();
            match w { 0 => p.product(&mut c, Left::Rows(&a), Plus::NOTHING), 1 => p.product(&mut c, Left::Columns(&a), Plus::Itself),
             2 if std::env::var("TR").is_ok() => crate::matmul::matmul(&mut c, crate::matmul::Into::Accumulate, crate::matmul::Mat::new(&a, k, m).t(), crate::matmul::Mat::new(&b, k, n)),
            2 => crate::matmul::matmul(&mut c, crate::matmul::Into::Overwrite, crate::matmul::Mat::new(&a, m, k), crate::matmul::Mat::new(&b, k, n)), _ => drop(Panels::of_serial(&b, k, n)) }
            best[w] = best[w].min(t.elapsed().as_secs_f64());
        } }
        println!("{m} {k} {n}: {:?} pack/product {:.3}", best[..3].iter().map(|b| (2.0*(m*k*n) as f64 / b * 1e-9) as u32).collect::<Vec<_>>(), best[3]/best[0]);
    }
}
