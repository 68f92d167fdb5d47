//! Products of small matrices that stay in the first cache levels, the arithmetic of chunked attention.
//!
//! A [`Tile`] is row-major, aligned to cache lines and padded with zeros to whole registers, so that a product has no
//! edges: blocks of rows by columns are summed in registers over all terms and written once. Triangular operands skip
//! what is zero, to the granularity of a block of rows.

mod product;
mod rows;
mod transpose;
mod unpacked;

use crate::simd::Lanes;
pub(crate) use product::{Ahead, Onto, Part, Term, product, product_ahead};
pub(crate) use rows::weighted_rows;
pub use transpose::TransposeBlocks;
pub(crate) use unpacked::product_unpacked;

/// Rows are padded to a multiple of this.
const ROWS: usize = 8;
/// Columns are padded to a multiple of this: one cache line of `f32`.
const COLS: usize = 16;

/// A padded matrix. Its size may change within what it was made for; padding is always 0.
#[derive(Debug)]
pub(crate) struct Tile<R> {
    buffer: Vec<R>,
    /// Where the first aligned element lies.
    start: usize,
    /// Rows and columns in use, padding included.
    rows: usize,
    cols: usize,
}

impl<R: Lanes> Tile<R> {
    /// Zeros, for at most `rows × cols`.
    pub fn new(rows: usize, cols: usize) -> Self {
        let (rows, cols) = (rows.next_multiple_of(ROWS), cols.next_multiple_of(COLS));
        let line = 64 / size_of::<R>();
        // Room for the transpose, too, whose rows are padded as these columns are.
        let buffer = vec![R::ZERO; rows.next_multiple_of(COLS) * cols + line];
        let start = buffer.as_ptr().align_offset(64).min(line);
        Self { buffer, start, rows, cols }
    }

    /// Changes the size (both padded); the content is whatever it was before.
    ///
    /// # Panics
    /// If it was made for less.
    pub fn resize(&mut self, rows: usize, cols: usize) {
        let (rows, cols) = (rows.next_multiple_of(ROWS), cols.next_multiple_of(COLS));
        assert!(self.start + rows * cols <= self.buffer.len(), "a tile of {rows} x {cols} does not fit");
        (self.rows, self.cols) = (rows, cols);
    }

    /// Takes the size of another tile.
    pub fn resize_like(&mut self, other: &Self) {
        self.resize(other.rows, other.cols);
    }

    /// Makes it `n × width`: `write` fills the rows laid end to end, then they move to their padded places.
    pub fn write_rows(&mut self, n: usize, width: usize, write: impl FnOnce(&mut [R])) {
        self.resize(n, width);
        let stride = self.cols;
        let data = self.data_mut();
        write(&mut data[..n * width]);
        if stride != width {
            for row in (0..n).rev() {
                data.copy_within(row * width..(row + 1) * width, row * stride);
                data[row * stride + width..(row + 1) * stride].fill(R::ZERO);
            }
        }
        data[n * stride..].fill(R::ZERO);
    }

    /// Its first `n` rows of `width` elements laid end to end; the padded content is lost.
    pub fn pack_rows(&mut self, n: usize, width: usize) -> &mut [R] {
        let stride = self.cols;
        let data = self.data_mut();
        if stride != width {
            (0..n).for_each(|row| data.copy_within(row * stride..row * stride + width, row * width));
        }
        &mut data[..n * width]
    }

    /// One row, padding included.
    pub fn row(&self, row: usize) -> &[R] {
        &self.data()[row * self.cols..][..self.cols]
    }

    /// One row, padding included.
    pub fn row_mut(&mut self, row: usize) -> &mut [R] {
        let cols = self.cols;
        &mut self.data_mut()[row * cols..][..cols]
    }

    /// Distance of two rows.
    pub fn stride(&self) -> usize {
        self.cols
    }

    /// Every row, padding included.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [R]> {
        let cols = self.cols;
        self.data_mut().chunks_mut(cols.max(1))
    }

    /// Becomes a copy of `source`.
    pub fn copy_from(&mut self, source: &Self) {
        self.resize(source.rows, source.cols);
        self.data_mut().copy_from_slice(source.data());
    }

    /// Becomes the transpose of `source`.
    pub fn transpose_of(&mut self, source: &Self) {
        self.resize(source.cols, source.rows);
        let (stride, used) = (self.cols, source.rows);
        R::transpose(source.data(), source.cols, self.data_mut(), stride);
        if used < stride {
            self.data_mut().chunks_mut(stride).for_each(|row| row[used..].fill(R::ZERO));
        }
    }

    /// Sets what lies right of the diagonal to 0, as far as products of its lower triangle read it.
    pub fn cut_above_diagonal(&mut self) {
        for row in 0..self.rows {
            self.row_mut(row)[row + 1..].iter_mut().take(ROWS - 1 - row % ROWS).for_each(|x| *x = R::ZERO);
        }
    }

    /// Sets the diagonal to 0.
    pub fn clear_diagonal(&mut self) {
        let next = self.cols + 1;
        self.data_mut().iter_mut().step_by(next).for_each(|x| *x = R::ZERO);
    }

    /// The elements, row by row, padding included.
    pub fn data(&self) -> &[R] {
        &self.buffer[self.start..][..self.rows * self.cols]
    }

    /// The elements, row by row, padding included.
    pub fn data_mut(&mut self) -> &mut [R] {
        &mut self.buffer[self.start..][..self.rows * self.cols]
    }
}

/// A copy has its own place in memory, so its first aligned element lies elsewhere.
impl<R: Lanes> Clone for Tile<R> {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.rows, self.cols);
        copy.copy_from(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, convert, normals};

    fn tile<R: Lanes>(stream: u64, rows: usize, cols: usize) -> Tile<R> {
        let mut tile = Tile::new(rows, cols);
        tile.write_rows(rows, cols, |data| data.copy_from_slice(&normals(stream, rows * cols)));
        tile
    }

    fn dense<R: Lanes>(tile: &Tile<R>, rows: usize, cols: usize) -> Vec<f64> {
        let row = |i: usize| convert::<R, f64>(&tile.row(i)[..cols]);
        (0..rows).flat_map(row).collect()
    }

    /// `A B`, `a` of `n × m`, with what `keep` refuses taken as 0.
    fn naive(a: &[f64], b: &[f64], n: usize, m: usize, keep: impl Fn(usize, usize) -> bool) -> Vec<f64> {
        let width = b.len() / m;
        let entry = |at: usize| {
            let (i, j) = (at / width, at % width);
            (0..m).filter(|&t| keep(i, t)).map(|t| a[i * m + t] * b[t * width + j]).sum()
        };
        (0..n * width).map(entry).collect()
    }

    fn transposed(x: &[f64], cols: usize) -> Vec<f64> {
        let rows = x.len() / cols;
        (0..x.len()).map(|at| x[at % rows * cols + at / rows]).collect()
    }

    fn products<R: Lanes>(tolerance: f64) {
        for (n, k, v) in [(1, 1, 1), (8, 16, 16), (5, 7, 3), (17, 33, 20), (64, 64, 64), (50, 24, 40)] {
            let (q, keys, values) = (tile::<R>(1, n, k), tile::<R>(2, n, k), tile::<R>(3, n, v));
            let [q_, k_, v_] = [(&q, k), (&keys, k), (&values, v)].map(|(t, cols)| dense(t, n, cols));
            let mut keys_t = Tile::new(k, n);
            keys_t.transpose_of(&keys);
            assert_eq!(dense(&keys_t, k, n), transposed(&k_, k));

            let mut scores = Tile::new(n, n);
            scores.data_mut().fill(R::NAN);
            product(&mut scores, Part::Lower, Onto::Zero, [Term::new(&q, &keys_t)]);
            scores.cut_above_diagonal();
            let scores_ = naive(&q_, &transposed(&k_, k), n, k, |_, _| true);
            let mut out = Tile::new(n, v);
            out.data_mut().fill(R::NAN);
            product(&mut out, Part::Full, Onto::Zero, [Term::lower(&scores, &values)]);
            let lower = |i: usize, t: usize| t <= i;
            assert_close("tril(QK)V", &dense(&out, n, v), &naive(&scores_, &v_, n, n, lower), tolerance);

            product(&mut out, Part::Full, Onto::Zero, [Term::lower_transposed(&scores, &values)]);
            let upper = naive(&transposed(&scores_, n), &v_, n, n, |i, t| t >= i);
            assert_close("tril(QK)^T V", &dense(&out, n, v), &upper, tolerance);

            let mut state = Tile::new(k, v);
            product(&mut state, Part::Full, Onto::Itself, [Term::transposed(&keys, &values)]);
            product(&mut state, Part::Full, Onto::Itself, [Term::transposed(&keys, &values)]);
            let once = naive(&transposed(&k_, k), &v_, k, n, |_, _| true);
            let twice: Vec<f64> = once.iter().map(|x| 2.0 * x).collect();
            assert_close("2 K^T V", &dense(&state, k, v), &twice, tolerance);

            product(&mut out, Part::Full, Onto::Zero, [Term::lower(&scores, &values), Term::new(&q, &state)]);
            let both: Vec<f64> = naive(&scores_, &v_, n, n, lower)
                .iter()
                .zip(naive(&q_, &twice, n, k, |_, _| true))
                .map(|(a, b)| a + b)
                .collect();
            assert_close("tril(QK)V + QS", &dense(&out, n, v), &both, tolerance);
        }
    }

    #[test]
    fn products_match_their_definitions() {
        products::<f64>(1e-13);
        products::<f32>(1e-6);
    }

    #[test]
    fn rows_move_to_their_padded_places_and_back() {
        let mut tile = Tile::<f64>::new(9, 20);
        tile.data_mut().fill(f64::NAN);
        tile.write_rows(9, 5, |rows| rows.iter_mut().enumerate().for_each(|(i, x)| *x = i as f64));
        assert_eq!((tile.cols, tile.data().len()), (16, 256));
        assert_eq!(tile.row(8)[..6], [40.0, 41.0, 42.0, 43.0, 44.0, 0.0]);
        assert!(tile.row(9).iter().all(|&x| x == 0.0));
        assert_eq!(tile.pack_rows(9, 5)[40], 40.0);
    }
}
