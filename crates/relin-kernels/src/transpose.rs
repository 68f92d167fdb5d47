//! A matrix written the other way round, once, where products would otherwise reorder it again and again.

use rayon::prelude::*;

use crate::real::Real;

/// Rows of the result that are written side by side: their unfinished cache lines fit the first level.
const ROWS: usize = 32;

/// `out[j, i] = x[i, j]` for a row-major `rows × cols` matrix x.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn transpose<R: Real>(out: &mut [R], x: &[R], rows: usize, cols: usize) {
    assert_eq!(x.len(), rows * cols, "{rows}x{cols} from {} elements", x.len());
    assert_eq!(out.len(), x.len(), "{cols}x{rows} into {} elements", out.len());
    if x.is_empty() {
        return;
    }
    let blocks = out.par_chunks_mut(ROWS * rows).enumerate();
    blocks.for_each(|(block, out)| columns(out, &x[block * ROWS..], rows, cols));
}

/// [`transpose`] on this thread.
pub(crate) fn transpose_serial<R: Real>(out: &mut [R], x: &[R], rows: usize, cols: usize) {
    assert_eq!((x.len(), out.len()), (rows * cols, rows * cols), "a {rows}x{cols} matrix");
    for (block, out) in out.chunks_mut((ROWS * rows).max(1)).enumerate() {
        columns(out, &x[block * ROWS..], rows, cols);
    }
}

/// The first columns of x as rows that fill `out`.
fn columns<R: Real>(out: &mut [R], x: &[R], rows: usize, cols: usize) {
    let width = out.len() / rows;
    for (i, row) in x.chunks(cols).take(rows).enumerate() {
        for (j, &value) in row[..width].iter().enumerate() {
            out[j * rows + i] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (rows, cols) in [(0, 3), (1, 1), (2, 5), (40, 3), (3, 70), (33, 64)] {
            let x: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let mut out = vec![f32::NAN; x.len()];
            transpose(&mut out, &x, rows, cols);
            let mut serial = vec![f32::NAN; x.len()];
            transpose_serial(&mut serial, &x, rows, cols);
            assert_eq!(out, serial);
            for i in 0..rows {
                for j in 0..cols {
                    assert_eq!(out[j * rows + i], x[i * cols + j]);
                }
            }
        }
    }
}
