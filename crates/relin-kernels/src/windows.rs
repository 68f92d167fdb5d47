//! Overlapping windows of a grid of tokens, one row of numbers each: what a dense layer makes of the rows is a strided
//! convolution.

use rayon::prelude::*;

use crate::real::Real;

/// One axis of a grid. A window has `stride` tokens of its own and reads `margin` more on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Tokens along the axis.
    pub length: usize,
    /// Tokens from one window to the next, at least 1.
    pub stride: usize,
    /// Tokens that a window shares with each neighbour.
    pub margin: usize,
}

impl Axis {
    /// An axis that is none: one token, one window.
    pub const SINGLE: Self = Self { length: 1, stride: 1, margin: 0 };

    /// Windows along the axis; the last may reach beyond its end.
    pub fn windows(self) -> usize {
        self.length.div_ceil(self.stride)
    }

    /// Tokens that a window reads.
    pub fn reach(self) -> usize {
        self.stride + 2 * self.margin
    }

    /// Of the tokens that a window reads, those on the axis: the first of them, its place in the window, their number.
    fn inside(self, window: usize) -> (usize, usize, usize) {
        let from = window * self.stride;
        let (first, skipped) = (from.saturating_sub(self.margin), self.margin.saturating_sub(from));
        let end = (from + self.stride + self.margin).min(self.length);
        (first, skipped, end.saturating_sub(first))
    }
}

/// The windows of grids of one size, whose tokens are vectors of `channels` numbers and follow each other row by row:
/// `y_{i,j} = [x_{i·s+a−m, j·s'+b−m'}]` for `a < s + 2m` and `b < s' + 2m'`, with zeros beyond the grid and from a sequence's
/// length on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows, and what is in a row.
    pub axes: [Axis; 2],
    /// Numbers of a token.
    pub channels: usize,
}

impl Windows {
    /// Tokens of a grid.
    pub fn tokens(&self) -> usize {
        self.axes.iter().map(|axis| axis.length).product()
    }

    /// Windows of a grid.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.windows()).product()
    }

    /// Numbers of a window.
    pub fn width(&self) -> usize {
        self.axes.iter().map(|axis| axis.reach()).product::<usize>() * self.channels
    }

    /// Writes the windows of every sequence.
    ///
    /// # Shapes
    /// - `x`: `[B, tokens, channels]`; `lens`: `B` lengths up to `tokens`; `y`: `[B, count, width]`, overwritten
    ///
    /// # Panics
    /// If the sizes do not agree.
    pub fn forward<R: Real>(&self, y: &mut [R], x: &[R], lens: &[usize]) {
        let [from, to] = self.check(x.len(), y.len(), lens);
        y.par_chunks_mut(to).zip(x.par_chunks(from)).zip(lens).for_each(|((y, x), &len)| {
            y.fill(R::ZERO);
            self.overlaps(len, |in_x, in_y, count| {
                y[in_y..in_y + count].copy_from_slice(&x[in_x..in_x + count]);
            });
        });
    }

    /// The gradient of [`forward`](Self::forward): each token's is the sum over the windows that read it.
    ///
    /// # Panics
    /// If the sizes do not agree.
    pub fn vjp<R: Real>(&self, dx: &mut [R], dy: &[R], lens: &[usize]) {
        let [from, to] = self.check(dx.len(), dy.len(), lens);
        dx.par_chunks_mut(from).zip(dy.par_chunks(to)).zip(lens).for_each(|((dx, dy), &len)| {
            dx.fill(R::ZERO);
            self.overlaps(len, |in_x, in_y, count| {
                let sums = dx[in_x..in_x + count].iter_mut();
                sums.zip(&dy[in_y..in_y + count]).for_each(|(sum, &dy)| *sum += dy);
            });
        });
    }

    /// Calls `visit` with every run of numbers that a sequence of `len` tokens and its windows share: where it begins in
    /// the sequence, where in the windows, and how long it is.
    fn overlaps(&self, len: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let ([rows, columns], channels) = (self.axes, self.channels);
        for window in 0..self.count() {
            let (top, above, height) = rows.inside(window / columns.windows());
            let (left, before, across) = columns.inside(window % columns.windows());
            for down in 0..height {
                let token = (top + down) * columns.length + left;
                let place = (above + down) * columns.reach() + before;
                let count = across.min(len.saturating_sub(token));
                visit(token * channels, window * self.width() + place * channels, count * channels);
            }
        }
    }

    /// Numbers of a sequence and of its windows.
    fn check(&self, x: usize, y: usize, lens: &[usize]) -> [usize; 2] {
        let (from, to) = (self.tokens() * self.channels, self.count() * self.width());
        let sequences = lens.len();
        assert_eq!(
            [x, y],
            [sequences * from, sequences * to],
            "{sequences} sequences and windows of {self:?}"
        );
        let longest = lens.iter().max().copied().unwrap_or(0);
        assert!(longest <= self.tokens(), "a sequence of {longest} tokens in {self:?}");
        [from.max(1), to.max(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, dot, normals};

    fn axis(length: usize, stride: usize, margin: usize) -> Axis {
        Axis { length, stride, margin }
    }

    fn cases() -> Vec<Windows> {
        let grid = |rows, columns, channels| Windows { axes: [rows, columns], channels };
        vec![
            grid(Axis::SINGLE, axis(7, 2, 1), 3),
            grid(Axis::SINGLE, axis(5, 3, 0), 1),
            grid(Axis::SINGLE, axis(1, 2, 4), 2),
            grid(axis(4, 2, 1), axis(6, 2, 1), 2),
            grid(axis(3, 2, 2), axis(5, 4, 3), 1),
            grid(axis(2, 1, 0), axis(3, 1, 0), 4),
        ]
    }

    /// The definition, number by number.
    fn defined(windows: &Windows, x: &[f64], len: usize) -> Vec<f64> {
        let [rows, columns] = windows.axes;
        let at = |row: isize, column: isize, channel: usize| {
            let inside =
                (0..rows.length as isize).contains(&row) && (0..columns.length as isize).contains(&column);
            let token = row * columns.length as isize + column;
            if inside && token < len as isize { x[token as usize * windows.channels + channel] } else { 0.0 }
        };
        let mut y = Vec::new();
        for (i, j) in (0..rows.windows()).flat_map(|i| (0..columns.windows()).map(move |j| (i, j))) {
            for (a, b) in (0..rows.reach()).flat_map(|a| (0..columns.reach()).map(move |b| (a, b))) {
                let row = (i * rows.stride + a) as isize - rows.margin as isize;
                let column = (j * columns.stride + b) as isize - columns.margin as isize;
                y.extend((0..windows.channels).map(|channel| at(row, column, channel)));
            }
        }
        y
    }

    #[test]
    fn equals_the_definition_and_padding_may_be_anything() {
        for windows in cases() {
            let (tokens, channels) = (windows.tokens(), windows.channels);
            let lens = [tokens, tokens / 2, 0];
            let mut x = normals::<f64>(1, 3 * tokens * channels);
            let mut expected = Vec::new();
            for (x, &len) in x.chunks_mut(tokens * channels).zip(&lens) {
                expected.extend(defined(&windows, x, len));
                x[len * channels..].fill(f64::NAN);
            }
            let mut y = vec![f64::NAN; expected.len()];
            windows.forward(&mut y, &x, &lens);
            assert_eq!(y, expected, "{windows:?}");
        }
    }

    /// The map is linear: `⟨windows x, d⟩ = ⟨x, vjp d⟩` says that the gradient is right.
    #[test]
    fn the_gradient_is_the_transpose() {
        for windows in cases() {
            let lens = [windows.tokens(), windows.tokens().div_ceil(2)];
            let x = normals::<f64>(1, 2 * windows.tokens() * windows.channels);
            let d = normals::<f64>(2, 2 * windows.count() * windows.width());
            let (mut y, mut dx) = (vec![f64::NAN; d.len()], vec![f64::NAN; x.len()]);
            windows.forward(&mut y, &x, &lens);
            windows.vjp(&mut dx, &d, &lens);
            assert_close("product", &[dot(&y, &d)], &[dot(&x, &dx)], 1e-13);
        }
    }
}
