//! Rows of a table by number, and the deterministic scatter-add that is its gradient.

use rayon::prelude::*;

use crate::real::Real;
use crate::simd::dispatch;

/// Rows of a table (or of an output) that one task writes.
const ROWS: usize = 128;

/// A token id that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("id {id} at index {index} is outside the table's {rows} rows")]
pub struct IdOutOfRange {
    /// Which entry of the list of ids.
    pub index: usize,
    /// What it says.
    pub id: u32,
    /// Rows that there are.
    pub rows: usize,
}

/// `out[i] = table[ids[i]]`.
///
/// # Shapes
/// out `[N, width]`, table `[rows, width]`, ids `[N]`.
///
/// # Errors
/// Names the first id outside the table.
///
/// # Panics
/// If the shapes do not fit.
pub fn gather<R: Real>(out: &mut [R], table: &[R], ids: &[u32], width: usize) -> Result<(), IdOutOfRange> {
    check(out.len(), table.len(), ids, width)?;
    out.par_chunks_mut(ROWS * width).zip(ids.par_chunks(ROWS)).for_each(|(out, ids)| {
        for (row, &id) in out.chunks_exact_mut(width).zip(ids) {
            row.copy_from_slice(&table[id as usize * width..][..width]);
        }
    });
    Ok(())
}

/// `dtable[r] = Σ dy[i]` over the `i` with `ids[i] = r`, in the order of `i`; rows that no id names become 0.
///
/// # Shapes
/// dtable `[rows, width]`, dy `[N, width]`, ids `[N]`.
///
/// # Errors
/// Names the first id outside the table.
///
/// # Panics
/// If the shapes do not fit.
pub fn scatter_add<R: Real>(
    dtable: &mut [R],
    dy: &[R],
    ids: &[u32],
    width: usize,
) -> Result<(), IdOutOfRange> {
    check(dy.len(), dtable.len(), ids, width)?;
    let mut order: Vec<(u32, usize)> = ids.iter().copied().zip(0..).collect();
    order.par_sort_unstable();
    dtable.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, dtable)| {
        dtable.fill(R::ZERO);
        let first_row = block * ROWS;
        let begin = order.partition_point(|&(id, _)| (id as usize) < first_row);
        let mine = order[begin..].iter().take_while(|&&(id, _)| (id as usize) < first_row + ROWS);
        dispatch(
            #[inline(always)]
            || {
                for &(id, index) in mine {
                    let target = &mut dtable[(id as usize - first_row) * width..][..width];
                    target.iter_mut().zip(&dy[index * width..][..width]).for_each(|(t, &g)| *t += g);
                }
            },
        );
    });
    Ok(())
}

fn check(gathered: usize, table: usize, ids: &[u32], width: usize) -> Result<(), IdOutOfRange> {
    assert!(width > 0, "rows must have at least one element");
    assert_eq!(gathered, ids.len() * width, "{} ids of width {width} do not fill {gathered}", ids.len());
    assert_eq!(table % width, 0, "a table of {table} elements has no whole rows of {width}");
    let rows = table / width;
    match ids.iter().position(|&id| id as usize >= rows) {
        Some(index) => Err(IdOutOfRange { index, id: ids[index], rows }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, dot, normals, numeric_gradient};

    fn ids(n: usize, rows: u64) -> Vec<u32> {
        let rng = crate::rng::Rng::new(3, 3);
        (0..n as u64).map(|i| rng.below(i, rows) as u32).collect()
    }

    #[test]
    fn gathers_rows() {
        for (n, rows, width) in [(0, 1, 2), (1, 1, 1), (300, 7, 5)] {
            let (table, ids) = (normals::<f32>(1, rows * width), ids(n, rows as u64));
            let mut out = vec![f32::NAN; n * width];
            gather(&mut out, &table, &ids, width).unwrap();
            for (i, &id) in ids.iter().enumerate() {
                assert_eq!(out[i * width..][..width], table[id as usize * width..][..width]);
            }
        }
    }

    #[test]
    fn scatter_add_is_the_gradient_of_gather() {
        let (n, rows, width) = (40, 9, 3);
        let (table, ids, dy) = (normals::<f64>(1, rows * width), ids(n, 8), normals::<f64>(2, n * width));
        let loss = |table: &[f64]| {
            let mut out = vec![f64::NAN; n * width];
            gather(&mut out, table, &ids, width).unwrap();
            dot(&out, &dy)
        };
        let mut dtable = vec![f64::NAN; rows * width];
        scatter_add(&mut dtable, &dy, &ids, width).unwrap();
        assert_close("dtable", &dtable, &numeric_gradient(&table, loss), 1e-8);
        assert_eq!(dtable[8 * width..], [0.0; 3]);
    }

    /// The same additions in the same order, so the same bits, over many blocks of rows.
    #[test]
    fn scatter_add_equals_the_serial_loop_bit_for_bit() {
        let (n, rows, width) = (5000, 1000, 4);
        let (ids, dy) = (ids(n, rows as u64), normals::<f32>(2, n * width));
        let mut expected = vec![0.0f32; rows * width];
        for (i, &id) in ids.iter().enumerate() {
            for d in 0..width {
                expected[id as usize * width + d] += dy[i * width + d];
            }
        }
        let mut found = vec![f32::NAN; rows * width];
        scatter_add(&mut found, &dy, &ids, width).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn ids_outside_the_table_are_named() {
        let expected = IdOutOfRange { index: 1, id: 2, rows: 2 };
        assert_eq!(gather(&mut [0.0f32; 2], &[1.0, 2.0], &[0, 2], 1), Err(expected));
        assert_eq!(scatter_add(&mut [0.0f32; 2], &[1.0, 2.0], &[0, 2], 1), Err(expected));
    }
}
