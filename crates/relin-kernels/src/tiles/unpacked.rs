//! Products of small matrices as they lie, without packing. What a row becomes does not depend, to the bit, on how many
//! there are.

use pulp::{Simd, WithSimd};

use super::product::add_products;
use crate::matmul::Mat;
use crate::simd::{Lanes, with_simd};

/// `out = a b`, into rows that begin `out_stride` elements apart.
///
/// # Panics
/// If the shapes do not fit, or `b` is transposed.
pub(crate) fn product_unpacked<R: Lanes>(out: &mut [R], out_stride: usize, a: Mat<'_, R>, b: Mat<'_, R>) {
    assert_eq!(a.cols(), b.rows(), "inner sizes differ");
    assert_eq!(b.strides().1, 1, "the elements of a row of b lie apart");
    if a.rows() == 0 || b.cols() == 0 {
        return;
    }
    assert!(
        out_stride >= b.cols() && out.len() >= (a.rows() - 1) * out_stride + b.cols(),
        "out is too short"
    );
    with_simd(Unpacked { out, out_stride, a, b });
}

struct Unpacked<'a, R> {
    out: &'a mut [R],
    out_stride: usize,
    a: Mat<'a, R>,
    b: Mat<'a, R>,
}

impl<R: Lanes> WithSimd for Unpacked<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Accumulators, a row of `b` and a factor must fit the registers.
        let row = if S::REGISTER_COUNT >= 32 {
            self.rows::<S, 8, 2>(simd, 0)
        } else {
            self.rows::<S, 4, 2>(simd, 0)
        };
        self.rows::<S, 1, 4>(simd, row);
    }
}

impl<R: Lanes> Unpacked<'_, R> {
    /// Rows from `row` on, `M` at a time; returns the first that is left.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, mut row: usize) -> usize {
        let (lanes, cols) = (R::lanes::<S>(), self.b.cols());
        while row + M <= self.a.rows() {
            let mut col = 0;
            while col + V * lanes <= cols {
                self.block::<S, M, V>(simd, row, col);
                col += V * lanes;
            }
            while col + lanes <= cols {
                self.block::<S, M, 1>(simd, row, col);
                col += lanes;
            }
            (row..row + M).for_each(|row| self.rest(row, col));
            row += M;
        }
        row
    }

    /// `M` rows of `V` registers of columns, all of which `a` and `b` have.
    #[inline(always)]
    fn block<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, row: usize, col: usize) {
        let mut sums = [[R::splat(simd, R::ZERO); V]; M];
        let [(row_stride, col_stride), (b_stride, _)] = [self.a.strides(), self.b.strides()];
        let [a, b] = [self.a.place(row, 0), self.b.place(0, col)];
        // SAFETY: these rows, these columns and all that they have in common lie inside the two matrices.
        unsafe { add_products(simd, &mut sums, a, row_stride, col_stride, b, b_stride, self.a.cols()) };
        let lanes = R::lanes::<S>();
        for (i, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out[(row + i) * self.out_stride + col..][..V * lanes];
            for (out, sum) in out.chunks_exact_mut(lanes).zip(sums) {
                // SAFETY: the chunk holds exactly one register's elements; the pointer need not be aligned.
                unsafe { out.as_mut_ptr().cast::<R::Vector<S>>().write_unaligned(sum) };
            }
        }
    }

    /// The columns from `col` on, fewer than a register holds.
    #[inline(always)]
    fn rest(&mut self, row: usize, col: usize) {
        for col in col..self.b.cols() {
            // SAFETY: this row, this column and all that they have in common lie inside the two matrices.
            let product = |j: usize| unsafe { *self.a.place(row, j) * *self.b.place(j, col) };
            self.out[row * self.out_stride + col] =
                (0..self.a.cols()).fold(R::ZERO, |sum, j| sum + product(j));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, normals};

    #[test]
    fn matches_its_definition_and_each_row_by_itself_to_the_bit() {
        for (m, n, width) in [(1, 0, 3), (3, 5, 70), (13, 21, 64), (9, 1, 7)] {
            let (a_stride, b_stride, out_stride) = (2 * n + 1, width + 5, width + 3);
            let (a, b): (Vec<f64>, Vec<f64>) = (normals(1, m * a_stride), normals(2, n * b_stride));
            let a = Mat::every(&a, m, 2 * n, a_stride, 2);
            let b = Mat::strided(&b, n, width, b_stride);
            let mut together = vec![7.0; m * out_stride];
            product_unpacked(&mut together, out_stride, a, b);
            for (row, out) in together.chunks(out_stride).enumerate() {
                let weights: Vec<f64> = (0..n).map(|j| a.element(row, j)).collect();
                let mut alone = vec![f64::NAN; width];
                product_unpacked(&mut alone, width, Mat::new(&weights, 1, n), b);
                let sum = |col: usize| (0..n).map(|j| weights[j] * b.element(j, col)).sum::<f64>();
                assert_close("a row", &alone, &(0..width).map(sum).collect::<Vec<_>>(), 1e-14);
                assert_eq!(out[..width], alone);
                assert_eq!(out[width..], [7.0; 3]);
            }
        }
    }
}
