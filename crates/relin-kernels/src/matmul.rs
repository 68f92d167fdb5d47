//! Matrix products on slices: a safe, shape-checked face of the `gemm` crate, one thread per call (the kernels
//! themselves run in parallel over sequences and heads).

use crate::real::Real;

/// A read-only matrix over a slice, with its own strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, R> {
    data: &'a [R],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, R: Real> Mat<'a, R> {
    /// A row-major `rows × cols` matrix at the start of `data`.
    pub fn new(data: &'a [R], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A `rows × cols` matrix whose rows begin `row_stride` elements apart.
    pub fn strided(data: &'a [R], rows: usize, cols: usize, row_stride: usize) -> Self {
        check_extent(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// Every `step`-th column of a `rows × cols` matrix whose rows begin `row_stride` elements apart.
    pub fn every(data: &'a [R], rows: usize, cols: usize, row_stride: usize, step: usize) -> Self {
        check_extent(data.len(), rows, cols, row_stride);
        Self { data, rows, cols: cols.div_ceil(step), row_stride, col_stride: step }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Where an element lies: inside the slice for every row and column of the matrix, as its constructors have checked.
    #[inline(always)]
    pub(crate) fn place(&self, row: usize, col: usize) -> *const R {
        self.data.as_ptr().wrapping_add(row * self.row_stride + col * self.col_stride)
    }

    /// Distances from row to row and from column to column.
    pub(crate) fn strides(&self) -> (usize, usize) {
        (self.row_stride, self.col_stride)
    }

    #[cfg(test)]
    pub(crate) fn element(&self, row: usize, col: usize) -> R {
        self.data[row * self.row_stride + col * self.col_stride]
    }

    /// A row of a matrix that is not transposed.
    pub(crate) fn row(&self, row: usize) -> &'a [R] {
        debug_assert_eq!(self.col_stride, 1, "the elements of a row lie apart");
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

fn check_extent(len: usize, rows: usize, cols: usize, row_stride: usize) {
    let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
    assert!(
        needed <= len,
        "matrix {rows}x{cols} (row stride {row_stride}) needs {needed} elements, got {len}"
    );
}

/// What becomes of the destination's former content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// `dst = product`.
    Overwrite,
    /// `dst += product`.
    Accumulate,
}

/// `dst = a b` or `dst += a b`, with `dst` row-major and contiguous.
///
/// # Cost
/// `2·rows·inner·cols` FLOPs.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul<R: Real>(dst: &mut [R], mode: Into, a: Mat<'_, R>, b: Mat<'_, R>) {
    let cols = b.cols;
    matmul_strided(dst, cols, mode, a, b);
}

/// [`matmul`] into rows that begin `dst_stride` elements apart.
pub fn matmul_strided<R: Real>(dst: &mut [R], dst_stride: usize, mode: Into, a: Mat<'_, R>, b: Mat<'_, R>) {
    assert_eq!(a.cols, b.rows, "inner sizes differ: {}x{} times {}x{}", a.rows, a.cols, b.rows, b.cols);
    check_extent(dst.len(), a.rows, b.cols, dst_stride);
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    if a.cols == 0 {
        if mode == Into::Overwrite {
            dst.chunks_mut(dst_stride).take(a.rows).for_each(|row| row[..b.cols].fill(R::ZERO));
        }
        return;
    }
    // SAFETY: both operands and the destination were checked above (and in `Mat`'s constructors) to hold every
    // element that their shape and strides reach, and `dst` is borrowed mutably, so it aliases neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            mode == Into::Accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            R::ONE,
            R::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        c
    }

    #[test]
    fn matches_naive_over_odd_sizes_transposes_and_modes() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (8, 16, 4), (17, 1, 9), (2, 0, 3), (33, 31, 29)] {
            let a: Vec<f64> = (0..m * k).map(|i| ((i * 7 + 3) % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| ((i * 5 + 1) % 13) as f64 - 6.0).collect();
            let expected = naive(&a, &b, m, k, n);
            let mut c = vec![f64::NAN; m * n];
            matmul(&mut c, Into::Overwrite, Mat::new(&a, m, k), Mat::new(&b, k, n));
            assert_eq!(c, expected);
            matmul(&mut c, Into::Accumulate, Mat::new(&a, m, k), Mat::new(&b, k, n));
            assert!(c.iter().zip(&expected).all(|(x, y)| *x == 2.0 * y));
            let mut transposed = vec![f64::NAN; n * m];
            matmul(&mut transposed, Into::Overwrite, Mat::new(&b, k, n).t(), Mat::new(&a, m, k).t());
            for i in 0..m {
                for j in 0..n {
                    assert_eq!(transposed[j * m + i], expected[i * n + j]);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner sizes differ")]
    fn refuses_shapes_that_do_not_fit() {
        let x = [0.0f32; 6];
        matmul(&mut [0.0; 9], Into::Overwrite, Mat::new(&x, 3, 2), Mat::new(&x, 3, 2));
    }
}
