//! Transposed copies, in blocks that fit the registers.

use pulp::Arch;

use crate::real::Real;
use crate::simd::arch;

/// A number whose matrices can be transposed quickly.
pub trait TransposeBlocks: Real {
    /// `dst[j, i] = src[i, j]` for all columns of `src`; the rest of `dst`'s rows is not touched.
    ///
    /// # Shapes
    /// - `src`: `[rows, cols]`; `dst`: `[cols, dst_cols]` with `dst_cols ≥ rows`
    fn transpose(src: &[Self], cols: usize, dst: &mut [Self], dst_cols: usize);
}

impl TransposeBlocks for f64 {
    fn transpose(src: &[Self], cols: usize, dst: &mut [Self], dst_cols: usize) {
        scalar(src, cols, dst, dst_cols, 0);
    }
}

impl TransposeBlocks for f32 {
    fn transpose(src: &[Self], cols: usize, dst: &mut [Self], dst_cols: usize) {
        #[cfg(target_arch = "x86_64")]
        if let (Arch::V4(simd), 0) = (arch(), cols % 16) {
            let rows = src.len() / cols;
            let whole = rows / 16 * 16;
            simd.vectorize(
                #[inline(always)]
                || avx512(simd, src, whole, cols, dst, dst_cols),
            );
            return scalar(src, cols, dst, dst_cols, whole);
        }
        scalar(src, cols, dst, dst_cols, 0);
    }
}

/// Rows `from ..` of `src`.
fn scalar<R: Real>(src: &[R], cols: usize, dst: &mut [R], dst_cols: usize, from: usize) {
    for (row, src) in src.chunks(cols).enumerate().skip(from) {
        for (x, dst) in src.iter().zip(dst.chunks_mut(dst_cols)) {
            dst[row] = *x;
        }
    }
}

/// Blocks of 16 by 16. Four rows that lie four apart share a register, one in each quarter, so that transposing the
/// quarters leaves whole rows of the result.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn avx512(simd: pulp::x86::V4, src: &[f32], rows: usize, cols: usize, dst: &mut [f32], dst_cols: usize) {
    let f = simd.avx512f;
    let mut four = [f._mm512_setzero_ps(); 4];
    for row in (0..rows).step_by(16) {
        for col in (0..cols).step_by(4) {
            for (i, register) in four.iter_mut().enumerate() {
                let at = (row + i) * cols + col;
                *register = f._mm512_castps128_ps512(quarter(src, at));
                *register = f._mm512_insertf32x4::<1>(*register, quarter(src, at + 4 * cols));
                *register = f._mm512_insertf32x4::<2>(*register, quarter(src, at + 8 * cols));
                *register = f._mm512_insertf32x4::<3>(*register, quarter(src, at + 12 * cols));
            }
            let [a, b, c, d] = four;
            let low = [f._mm512_unpacklo_ps(a, b), f._mm512_unpacklo_ps(c, d)];
            let high = [f._mm512_unpackhi_ps(a, b), f._mm512_unpackhi_ps(c, d)];
            for (j, [left, right]) in [low, high].into_iter().enumerate() {
                let (left, right) = (f._mm512_castps_pd(left), f._mm512_castps_pd(right));
                let at = (col + 2 * j) * dst_cols + row;
                let even: [f32; 16] = pulp::cast(f._mm512_unpacklo_pd(left, right));
                dst[at..][..16].copy_from_slice(&even);
                let odd: [f32; 16] = pulp::cast(f._mm512_unpackhi_pd(left, right));
                dst[at + dst_cols..][..16].copy_from_slice(&odd);
            }
        }
    }
}

/// Four consecutive elements.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn quarter(src: &[f32], at: usize) -> std::arch::x86_64::__m128 {
    let mut four = [0.0; 4];
    four.copy_from_slice(&src[at..at + 4]);
    pulp::cast(four)
}
