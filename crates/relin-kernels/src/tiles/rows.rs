//! One row times a matrix: what a single token reads of a state.

use pulp::{Simd, WithSimd};

use crate::matmul::Into;
use crate::simd::{Lanes, with_simd};

/// `out = Σ_i weights_i rows_i` (or `out +=`), the rows beginning `stride` elements apart.
///
/// # Panics
/// If `rows` is too short.
pub(crate) fn weighted_rows<R: Lanes>(weights: &[R], rows: &[R], stride: usize, out: &mut [R], mode: Into) {
    let needed = if weights.is_empty() { 0 } else { (weights.len() - 1) * stride + out.len() };
    assert!(rows.len() >= needed, "{} rows of {} need {needed} elements", weights.len(), out.len());
    if mode == Into::Overwrite {
        out.fill(R::ZERO);
    }
    with_simd(WeightedRows { weights, rows, stride, out });
}

struct WeightedRows<'a, R> {
    weights: &'a [R],
    rows: &'a [R],
    stride: usize,
    out: &'a mut [R],
}

impl<R: Lanes> WithSimd for WeightedRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = R::lanes::<S>();
        let mut col = 0;
        while col + 4 * lanes <= self.out.len() {
            self.columns::<S, 4, 2>(simd, col);
            col += 4 * lanes;
        }
        while col + lanes <= self.out.len() {
            self.columns::<S, 1, 4>(simd, col);
            col += lanes;
        }
        for (i, &weight) in self.weights.iter().enumerate() {
            let row = &self.rows[i * self.stride..][..self.out.len()];
            for (out, &x) in self.out[col..].iter_mut().zip(&row[col..]) {
                *out += weight * x;
            }
        }
    }
}

impl<R: Lanes> WeightedRows<'_, R> {
    /// `V` registers of columns, in `U` sums of their own that do not wait for each other.
    #[inline(always)]
    fn columns<S: Simd, const V: usize, const U: usize>(&mut self, simd: S, col: usize) {
        let lanes = R::lanes::<S>();
        let out = self.out[col..][..V * lanes].as_mut_ptr().cast::<R::Vector<S>>();
        let mut sums = [[R::splat(simd, R::ZERO); V]; U];
        let (whole, rest) = self.weights.as_chunks::<U>();
        for (block, weights) in whole.iter().enumerate() {
            for (u, (&weight, sums)) in weights.iter().zip(&mut sums).enumerate() {
                // SAFETY: row `block·U + u` is one of the weights', and `V` registers from `col` on lie within `out`.
                unsafe { self.add_row(simd, block * U + u, col, weight, sums) };
            }
        }
        for (u, &weight) in rest.iter().enumerate() {
            // SAFETY: as above.
            unsafe { self.add_row(simd, whole.len() * U + u, col, weight, &mut sums[0]) };
        }
        for j in 0..V {
            let sum = (1..U).fold(sums[0][j], |sum, u| R::add_lanes(simd, sum, sums[u][j]));
            // SAFETY: `out` covers `V` registers' elements.
            unsafe {
                let place = out.add(j);
                place.write_unaligned(R::add_lanes(simd, place.read_unaligned(), sum));
            }
        }
    }

    /// # Safety
    /// There must be a row `row`, and `V` registers from `col` on must lie within `out`.
    #[inline(always)]
    unsafe fn add_row<S: Simd, const V: usize>(
        &self,
        simd: S,
        row: usize,
        col: usize,
        weight: R,
        sums: &mut [R::Vector<S>; V],
    ) {
        let weight = R::splat(simd, weight);
        // SAFETY: `weighted_rows` has shown that every row holds as many elements as `out`; unaligned access is asked for.
        unsafe {
            let row = self.rows.as_ptr().add(row * self.stride + col).cast::<R::Vector<S>>();
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = R::mul_add(simd, weight, row.add(j).read_unaligned(), *sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, normals};

    #[test]
    fn matches_its_definition_at_every_width() {
        for n in [0, 1, 5] {
            for width in 0..80 {
                let stride = width + 3;
                let (weights, rows): (Vec<f64>, Vec<f64>) = (normals(1, n), normals(2, n * stride));
                let before: Vec<f64> = normals(3, width);
                let sum = |j: usize| (0..n).map(|i| weights[i] * rows[i * stride + j]).sum::<f64>();
                let expected: Vec<f64> = (0..width).map(sum).collect();
                let mut out = vec![f64::NAN; width];
                weighted_rows(&weights, &rows, stride, &mut out, Into::Overwrite);
                assert_close("overwritten", &out, &expected, 1e-15);
                out.copy_from_slice(&before);
                weighted_rows(&weights, &rows, stride, &mut out, Into::Accumulate);
                let expected: Vec<f64> = expected.iter().zip(&before).map(|(a, b)| a + b).collect();
                assert_close("added", &out, &expected, 1e-15);
            }
        }
    }
}
