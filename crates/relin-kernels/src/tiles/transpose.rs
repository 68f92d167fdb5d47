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
    use std::arch::x86_64::{__m128, __m512};
    let f = simd.avx512f;
    let quarter = |row: usize, col: usize| -> __m128 {
        let (four, _) = src[row * cols + col..].split_first_chunk::<4>().expect("four elements");
        pulp::cast(*four)
    };
    for row in (0..rows).step_by(16) {
        for col in (0..cols).step_by(4) {
            let [a, b, c, d]: [__m512; 4] = std::array::from_fn(|i| {
                let register = f._mm512_castps128_ps512(quarter(row + i, col));
                let register = f._mm512_insertf32x4::<1>(register, quarter(row + i + 4, col));
                let register = f._mm512_insertf32x4::<2>(register, quarter(row + i + 8, col));
                f._mm512_insertf32x4::<3>(register, quarter(row + i + 12, col))
            });
            let pairs = |low: __m512, high: __m512| {
                let (low, high) = (f._mm512_castps_pd(low), f._mm512_castps_pd(high));
                [f._mm512_unpacklo_pd(low, high), f._mm512_unpackhi_pd(low, high)].map(|x| pulp::cast(x))
            };
            let left = pairs(f._mm512_unpacklo_ps(a, b), f._mm512_unpacklo_ps(c, d));
            let right = pairs(f._mm512_unpackhi_ps(a, b), f._mm512_unpackhi_ps(c, d));
            for (j, register) in left.into_iter().chain(right).enumerate() {
                let register: [f32; 16] = register;
                dst[(col + j) * dst_cols + row..][..16].copy_from_slice(&register);
            }
        }
    }
}
