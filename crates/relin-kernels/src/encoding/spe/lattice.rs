//! Where the noise of a cell lies: a grid in several dimensions as one long row of noise.
//!
//! Cells are numbered row by row. A filter of `P^n` taps reaches `P − 1` cells past the cell along every axis, so each
//! axis but the first is extended by as many, and noise is numbered row by row on the extended grid. There the taps
//! of a cell lie at fixed distances: `P` next to each other for each choice of the other coordinates.

use std::ops::Range;

/// Rows of a banded matrix: fewer waste less of the product on zeros, more make it faster.
pub(super) const BAND: usize = 32;

/// A grid, and the filters on it. With one axis, cells are positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lattice {
    /// Cells along each axis but the first, which has no end.
    cells: Vec<i64>,
    /// Distance, in noise, of neighbours along each axis.
    strides: Vec<i64>,
    kernel_size: usize,
}

/// Neighbouring cells of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// First row of the call, and their number, at most [`BAND`].
    pub from: usize,
    pub rows: usize,
    /// Noise of the first tap of the first cell.
    pub noise: i64,
}

impl Lattice {
    /// Filters of `kernel_size` taps along each of the axes of `shape`, or along positions if it is empty.
    pub fn new(shape: &[usize], kernel_size: usize) -> Self {
        let cells: Vec<i64> = shape.iter().skip(1).map(|&cells| cells as i64).collect();
        let mut strides = vec![1];
        for cells in cells.iter().rev() {
            strides.push(strides.last().expect("begins with 1") * (cells + kernel_size as i64 - 1));
        }
        strides.reverse();
        Self { cells, strides, kernel_size }
    }

    /// Number of axes.
    pub fn axes(&self) -> usize {
        self.strides.len()
    }

    /// Taps of a filter.
    pub fn taps(&self) -> usize {
        self.kernel_size.pow(self.axes() as u32)
    }

    /// Cells that one step along the first axis passes.
    pub fn line(&self) -> i64 {
        self.cells.iter().product()
    }

    /// The coordinates of a cell; beyond the last one the first axis goes on.
    pub fn coordinates(&self, position: i64) -> Vec<i64> {
        let mut rest = position;
        let mut coordinates = Vec::with_capacity(self.axes());
        for cells in self.cells.iter().rev() {
            coordinates.push(rest.rem_euclid(*cells));
            rest = rest.div_euclid(*cells);
        }
        coordinates.push(rest);
        coordinates.reverse();
        coordinates
    }

    /// The number of a cell's noise.
    pub fn noise(&self, position: i64) -> i64 {
        self.coordinates(position).iter().zip(&self.strides).map(|(c, stride)| c * stride).sum()
    }

    /// Coordinates of a tap, each below P.
    pub fn tap(&self, index: usize) -> Vec<i64> {
        let p = self.kernel_size;
        (0..self.axes()).rev().map(|axis| (index / p.pow(axis as u32) % p) as i64).collect()
    }

    /// The number of a tap at these coordinates, if the filter has one.
    pub fn tap_at(&self, coordinates: impl Iterator<Item = i64>) -> Option<usize> {
        let p = self.kernel_size as i64;
        let mut index = 0;
        for coordinate in coordinates {
            if !(0..p).contains(&coordinate) {
                return None;
            }
            index = index * p + coordinate;
        }
        Some(index as usize)
    }

    /// How far, in noise, each run of P taps lies from the first.
    pub fn runs(&self) -> impl Iterator<Item = usize> {
        let p = self.kernel_size;
        (0..self.taps() / p).map(move |run| {
            let distance: i64 =
                self.tap(run * p).iter().zip(&self.strides).map(|(c, stride)| c * stride).sum();
            distance as usize
        })
    }

    /// Noise that a filter passes besides that of its cell.
    pub fn reach(&self) -> usize {
        let steps: i64 = self.strides.iter().sum();
        (self.kernel_size - 1) * steps as usize
    }

    /// The noise that the taps of consecutive cells lie in.
    pub fn noise_of(&self, position: i64, rows: usize) -> Range<i64> {
        self.noise(position)..self.noise(position + rows as i64 - 1) + self.reach() as i64 + 1
    }

    /// Consecutive cells in bands.
    pub fn bands(&self, position: i64, rows: usize) -> Vec<Band> {
        let mut bands = Vec::new();
        let mut from = 0;
        while from < rows {
            let cell = position + from as i64;
            let left = self.cells.last().map_or(rows, |&cells| (cells - cell.rem_euclid(cells)) as usize);
            let band = BAND.min(left).min(rows - from);
            bands.push(Band { from, rows: band, noise: self.noise(cell) });
            from += band;
        }
        bands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tap of every cell, by its definition, has noise of its own on an extended grid, and the bands cover it.
    #[test]
    fn taps_of_a_grid_lie_where_they_are_looked_for() {
        let (shape, p) = ([3usize, 5, 4], 2);
        let lattice = Lattice::new(&shape, p);
        assert_eq!((lattice.axes(), lattice.taps(), lattice.line()), (3, 8, 20));
        let extended = |c: &[i64]| (c[0] * 6 + c[1]) * 5 + c[2];
        let runs: Vec<usize> = lattice.runs().collect();
        for band in lattice.bands(7, 40) {
            for i in 0..band.rows {
                let cell = 7 + (band.from + i) as i64;
                let coordinates = lattice.coordinates(cell);
                assert_eq!((coordinates[0] * 5 + coordinates[1]) * 4 + coordinates[2], cell);
                for tap in 0..8 {
                    let moved: Vec<i64> =
                        coordinates.iter().zip(lattice.tap(tap)).map(|(c, j)| c + j).collect();
                    let found = band.noise + (i + runs[tap / p] + tap % p) as i64;
                    assert_eq!(found, extended(&moved), "tap {tap} of cell {cell}");
                    assert!(lattice.noise_of(7, 40).contains(&found));
                    assert_eq!(lattice.tap_at(lattice.tap(tap).into_iter()), Some(tap));
                }
            }
        }
        let covered: usize = lattice.bands(7, 40).iter().map(|band| band.rows).sum();
        assert_eq!(covered, 40);
        assert_eq!(lattice.tap_at([0, 2, 0].into_iter()), None);
    }

    #[test]
    fn positions_are_a_grid_of_one_axis() {
        let lattice = Lattice::new(&[], 128);
        assert_eq!((lattice.noise(-3), lattice.reach(), lattice.taps()), (-3, 127, 128));
        assert_eq!(lattice.noise_of(10, 64), 10..10 + 64 + 127);
        assert_eq!(lattice.bands(10, 70).last(), Some(&Band { from: 64, rows: 6, noise: 74 }));
        assert_eq!(lattice.runs().collect::<Vec<_>>(), [0]);
    }
}
