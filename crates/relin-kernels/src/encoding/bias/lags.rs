//! The lags between a run of queries and a run of keys: a number for each lag, spread over the block and back.

use std::ops::Range;

use crate::real::Real;
use crate::simd::dispatch;

/// Lags beyond it are not told apart, so that none overflows.
const FARTHEST: i64 = 1 << 62;

/// The lags between consecutive queries and consecutive keys.
///
/// Along a row they grow by one a key, from row to row they fall by one: `rows + keys − 1` different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lags {
    /// Of the last query and the first key.
    first: i64,
    rows: usize,
    keys: usize,
}

impl Lags {
    /// The lags between `rows` queries from position `query` on and `keys` keys from position `key` on.
    pub fn new(query: i64, rows: usize, key: i64, keys: usize) -> Self {
        let first = key.saturating_sub(query).clamp(-FARTHEST, FARTHEST) - rows.saturating_sub(1) as i64;
        Self { first, rows, keys }
    }

    /// Number of queries.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Number of keys.
    pub fn keys(self) -> usize {
        self.keys
    }

    /// The different lags, from the least on.
    pub fn ascending(self) -> Range<i64> {
        self.first..self.first + (self.rows + self.keys).saturating_sub(1) as i64
    }

    /// Lag of query number `row` and the first key.
    pub fn start_of(self, row: usize) -> i64 {
        self.first + (self.rows - 1 - row) as i64
    }

    /// How many of the first keys of a row have lags below `lag`.
    pub fn below(self, row: usize, lag: i64) -> usize {
        (lag - self.start_of(row)).clamp(0, self.keys as i64) as usize
    }

    /// `block_rc += by_lag` of their lag.
    ///
    /// # Shapes
    /// - `block`: `[rows, keys]`; `by_lag`: `[rows + keys − 1]`, ascending
    pub fn add<R: Real>(self, block: &mut [R], by_lag: &[R]) {
        self.each_row(block, by_lag, |x, by_lag| *x += by_lag);
    }

    /// `block_rc *= by_lag` of their lag; shapes as of [`add`](Self::add).
    pub(crate) fn scale<R: Real>(self, block: &mut [R], by_lag: &[R]) {
        self.each_row(block, by_lag, |x, by_lag| *x *= by_lag);
    }

    #[inline(always)]
    fn each_row<R: Real>(self, block: &mut [R], by_lag: &[R], apply: impl Fn(&mut R, R)) {
        dispatch(
            #[inline(always)]
            || {
                for (r, row) in block.chunks_exact_mut(self.keys.max(1)).enumerate() {
                    for (x, &by_lag) in row.iter_mut().zip(&by_lag[self.rows - 1 - r..]) {
                        apply(x, by_lag);
                    }
                }
            },
        );
    }

    /// The sum of a block over each lag, ascending: the transpose of [`add`](Self::add).
    pub fn sums<R: Real>(self, block: &[R]) -> Vec<R> {
        let mut sums = vec![R::ZERO; (self.rows + self.keys).saturating_sub(1)];
        dispatch(
            #[inline(always)]
            || {
                for (r, row) in block.chunks_exact(self.keys.max(1)).enumerate() {
                    for (sum, &x) in sums[self.rows - 1 - r..].iter_mut().zip(row) {
                        *sum += x;
                    }
                }
            },
        );
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_lag() {
        let (query, key) = (11, 9);
        let lags = Lags::new(query, 3, key, 4);
        let by_lag: Vec<f64> = lags.ascending().map(|lag| lag as f64).collect();
        let mut block = vec![0.0; 12];
        lags.add(&mut block, &by_lag);
        let lag = |r: i64, c: i64| (key + c) - (query + r);
        let expected: Vec<f64> = (0..12).map(|at| lag(at / 4, at % 4) as f64).collect();
        assert_eq!(block, expected);
        assert_eq!((lags.start_of(2), lags.below(2, -3), lags.below(0, 9), lags.below(0, -9)), (-4, 1, 4, 0));
        let weights: Vec<f64> = (0..12).map(|i| (i * i) as f64).collect();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert_eq!(product(&lags.sums(&weights), &by_lag), product(&weights, &expected));
    }

    #[test]
    fn positions_at_the_ends_of_their_range_do_not_overflow() {
        for (query, key) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            let lags = Lags::new(query, 128, key, 128);
            assert_eq!(lags.ascending().count(), 255);
            assert_eq!(lags.below(0, 0), if key < query { 128 } else { 0 });
        }
    }
}
