//! Sums of products of tiles, a block of rows by columns at a time in registers.

use pulp::{Simd, WithSimd};

use super::Tile;
use crate::simd::{Lanes, prefetch, with_simd};

/// Which elements are used; a row `i` and column `j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All.
    Full,
    /// Those with `j ≤ i`.
    Lower,
    /// Those with `j ≥ i`.
    Upper,
}

/// One product `A B` in a sum of products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a, R> {
    a: &'a Tile<R>,
    transposed: bool,
    part: Part,
    b: &'a Tile<R>,
}

impl<'a, R: Lanes> Term<'a, R> {
    /// `A B`.
    pub fn new(a: &'a Tile<R>, b: &'a Tile<R>) -> Self {
        Self { a, transposed: false, part: Part::Full, b }
    }

    /// `A^T B`.
    pub fn transposed(a: &'a Tile<R>, b: &'a Tile<R>) -> Self {
        Self { a, transposed: true, part: Part::Full, b }
    }

    /// `tril(A) B`.
    pub fn lower(a: &'a Tile<R>, b: &'a Tile<R>) -> Self {
        Self { a, transposed: false, part: Part::Lower, b }
    }

    /// `tril(A)^T B`.
    pub fn lower_transposed(a: &'a Tile<R>, b: &'a Tile<R>) -> Self {
        Self { a, transposed: true, part: Part::Upper, b }
    }

    /// Strides of `A` from row to row and from column to column.
    fn strides(&self) -> (usize, usize) {
        if self.transposed { (1, self.a.cols) } else { (self.a.cols, 1) }
    }

    fn check(&self, rows: usize, cols: usize) {
        let (a_rows, a_cols) =
            if self.transposed { (self.a.cols, self.a.rows) } else { (self.a.rows, self.a.cols) };
        assert!(a_rows >= rows && a_cols >= self.b.rows && self.b.cols == cols, "tiles do not fit: {self:?}");
    }
}

/// What the terms are added to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Onto<'a, R> {
    /// Nothing: the destination's content is overwritten.
    Zero,
    /// The destination's content.
    Itself,
    /// Another tile of the destination's size.
    Tile(&'a Tile<R>),
}

/// Elements that a product asks for at once: four cache lines of `f32`.
const ASKED: usize = 64;

/// Rows that will soon be read or written, `stride` apart: a product asks the memory for them, some before each block
/// of its arithmetic, so that they arrive meanwhile. All at once they would keep the processor waiting. Nothing is
/// read: the rows may be lent to another thread, or lie outside any memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<R> {
    next: *const R,
    rows: usize,
    stride: usize,
    width: usize,
    /// How much of the next row was asked for.
    asked: usize,
}

impl<R> Ahead<R> {
    /// `rows` rows of `width`, from the element at `first` on.
    pub fn new(first: *const R, stride: usize, width: usize, rows: usize) -> Self {
        Self { next: first, rows, stride, width, asked: 0 }
    }

    /// How many times there is something to ask for.
    fn len(&self) -> usize {
        self.rows * self.width.div_ceil(ASKED)
    }

    /// Asks for the next elements, `times` times.
    #[inline(always)]
    fn ask(&mut self, times: usize) {
        for _ in 0..times {
            if self.rows == 0 {
                return;
            }
            let end = self.width.min(self.asked + ASKED);
            prefetch(self.next.wrapping_add(self.asked), end - self.asked);
            self.asked = end;
            if end == self.width {
                (self.asked, self.rows) = (0, self.rows - 1);
                self.next = self.next.wrapping_add(self.stride);
            }
        }
    }
}

/// Writes the sum of the terms to `dst`, or to the blocks of it that touch `part`.
pub(crate) fn product<R: Lanes, const N: usize>(
    dst: &mut Tile<R>,
    part: Part,
    onto: Onto<'_, R>,
    terms: [Term<'_, R>; N],
) {
    product_ahead(dst, part, onto, terms, []);
}

/// [`product`], and in its shade the rows of `ahead`.
pub(crate) fn product_ahead<R: Lanes, const N: usize, const A: usize>(
    dst: &mut Tile<R>,
    part: Part,
    onto: Onto<'_, R>,
    terms: [Term<'_, R>; N],
    ahead: [Ahead<R>; A],
) {
    if let Onto::Tile(tile) = onto {
        assert_eq!((tile.rows, tile.cols), (dst.rows, dst.cols), "tiles do not fit");
    }
    terms.iter().for_each(|term| term.check(dst.rows, dst.cols));
    with_simd(Product { dst, part, onto, terms, ahead });
}

struct Product<'a, 'b, R, const N: usize, const A: usize> {
    dst: &'a mut Tile<R>,
    part: Part,
    onto: Onto<'b, R>,
    terms: [Term<'b, R>; N],
    ahead: [Ahead<R>; A],
}

impl<R: Lanes, const N: usize, const A: usize> WithSimd for Product<'_, '_, R, N, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Accumulators, a row of B and a factor must fit the registers.
        if S::REGISTER_COUNT >= 32 { self.run::<S, 8, 2>(simd) } else { self.run::<S, 4, 2>(simd) }
    }
}

impl<R: Lanes, const N: usize, const A: usize> Product<'_, '_, R, N, A> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(mut self, simd: S) {
        let lanes = R::lanes::<S>();
        let blocks = (self.dst.rows / M * (self.dst.cols / (V * lanes))).max(1);
        let blocks = if self.part == Part::Full { blocks } else { blocks.div_ceil(2) };
        let ask = self.ahead.iter().map(|ahead| ahead.len().div_ceil(blocks)).max().unwrap_or(0);
        let mut col = 0;
        while col + V * lanes <= self.dst.cols {
            self.column::<S, M, V>(simd, col, ask);
            col += V * lanes;
        }
        while col < self.dst.cols {
            self.column::<S, M, 1>(simd, col, ask);
            col += lanes;
        }
    }

    /// All blocks of `M` rows for `V` registers of columns.
    #[inline(always)]
    fn column<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, col: usize, ask: usize) {
        for row in (0..self.dst.rows).step_by(M) {
            let outside = match self.part {
                Part::Full => false,
                Part::Lower => col >= row + M,
                Part::Upper => col + V * R::lanes::<S>() <= row,
            };
            if outside {
                continue;
            }
            self.ahead.iter_mut().for_each(|ahead| ahead.ask(ask));
            if self.part == Part::Lower && col + R::lanes::<S>() >= row + M {
                self.block::<S, M, 1>(simd, row, col);
            } else {
                self.block::<S, M, V>(simd, row, col);
            }
        }
    }

    #[inline(always)]
    fn block<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, row: usize, col: usize) {
        let mut sums = [[R::splat(simd, R::ZERO); V]; M];
        for term in &self.terms {
            let inner = match term.part {
                Part::Full => 0..term.b.rows,
                Part::Lower => 0..term.b.rows.min(row + M),
                Part::Upper => row.min(term.b.rows)..term.b.rows,
            };
            let (row_stride, col_stride) = term.strides();
            // SAFETY: `check` has shown that A has `row + M ≤ dst.rows` rows (ROWS is a multiple of M) and
            // `inner.end ≤ b.rows` columns, and that B is as wide as the destination, so all offsets lie within tiles.
            unsafe {
                let a = term.a.data().as_ptr().add(row * row_stride + inner.start * col_stride);
                let b = term.b.data().as_ptr().add(inner.start * term.b.cols + col);
                add_products(simd, &mut sums, a, row_stride, col_stride, b, term.b.cols, inner.len());
            }
        }
        let (cols, lanes) = (self.dst.cols, R::lanes::<S>());
        let first = row * cols + col;
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let at = first + i * cols + j * lanes;
                let former = match self.onto {
                    Onto::Zero => None,
                    Onto::Itself => Some(register::<R, S>(&self.dst.data()[at..])),
                    Onto::Tile(tile) => Some(register::<R, S>(&tile.data()[at..])),
                };
                let sum = former.map_or(sum, |former| R::add_lanes(simd, former, sum));
                let place = self.dst.data_mut()[at..][..lanes].as_mut_ptr().cast::<R::Vector<S>>();
                // SAFETY: the slice holds exactly one register's elements; the pointer need not be aligned.
                unsafe { place.write_unaligned(sum) };
            }
        }
    }
}

/// The first elements, as many as a register holds.
#[inline(always)]
fn register<R: Lanes, S: Simd>(data: &[R]) -> R::Vector<S> {
    let place = data[..R::lanes::<S>()].as_ptr().cast::<R::Vector<S>>();
    // SAFETY: the slice holds exactly one register's elements, and any bits are a vector of numbers.
    unsafe { place.read_unaligned() }
}

/// `sums += A B` for `M` rows of A and `V` registers of B's columns, over `inner` common elements.
///
/// # Safety
/// `a + i·row_stride + t·col_stride` for `i < M` and the registers at `b + t·b_stride` for `t < inner` must be
/// readable.
#[inline(always)]
pub(super) unsafe fn add_products<R: Lanes, S: Simd, const M: usize, const V: usize>(
    simd: S,
    sums: &mut [[R::Vector<S>; V]; M],
    mut a: *const R,
    row_stride: usize,
    col_stride: usize,
    mut b: *const R,
    b_stride: usize,
    inner: usize,
) {
    let lanes = R::lanes::<S>();
    for _ in 0..inner {
        // SAFETY: the caller vouches for every element read here.
        unsafe {
            let mut row = [R::splat(simd, R::ZERO); V];
            for (j, value) in row.iter_mut().enumerate() {
                *value = b.add(j * lanes).cast::<R::Vector<S>>().read_unaligned();
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = R::splat(simd, *a.add(i * row_stride));
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum = R::mul_add(simd, factor, value, *sum);
                }
            }
            a = a.wrapping_add(col_stride);
            b = b.wrapping_add(b_stride);
        }
    }
}
