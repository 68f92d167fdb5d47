//! One sequence and one head of a call: its rows on their way through φ and the encoding, and back.

use super::fade::Fade;
use super::{Inputs, LinearAttention};
use crate::columns::Columns;
use crate::encoding::{Encoder, Side, Stage};
use crate::fast_math::FastMath;
use crate::feature_map::{BoundFeatureMap, FeatureMap};
use crate::segments::Segment;
use crate::simd::dispatch;
use crate::tiles::{Ahead, Tile};

/// One head of a run of tokens: a segment, or a piece of one.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, R: FastMath> {
    pub attention: &'a LinearAttention<R>,
    pub encoder: &'a dyn Encoder<R>,
    pub inputs: Inputs<'a, R>,
    pub fade: Option<&'a Fade<R>>,
    pub head: usize,
    pub tokens: Segment,
}

/// The chunk that comes next to the head whose turn it is, the `turn`-th of `of` neighbours run one after the other.
///
/// Each asks for its share of what all of them will need: some rows in full, as they lie in memory, instead of its own
/// columns of all rows.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub turn: usize,
    pub of: usize,
    /// First row of the chunk, from the segment's start, and how many it has.
    pub from: usize,
    pub n: usize,
}

impl Next {
    /// Rows of a tensor.
    pub fn of<R: FastMath>(&self, head: &Head<'_, R>, tensor: &[R], width: usize) -> Ahead<R> {
        let [begin, end] = [self.turn, self.turn + 1].map(|share| self.n * share / self.of);
        let first = tensor.as_ptr().wrapping_add(head.at(width, self.from + begin) - self.turn * width);
        Ahead::new(first, head.attention.heads * width, self.of * width, end - begin)
    }
}

/// A chunk of queries or keys.
#[derive(Debug)]
pub(super) struct Rows<R> {
    /// `[n, K]`, as given; only where what comes first cannot read them from where they lie.
    raw: Vec<R>,
    /// Between φ and the encoding, whichever comes first: `[n, L]`.
    middle: Vec<R>,
    /// `n × K'`.
    pub encoded: Tile<R>,
    n: usize,
}

impl<R: FastMath> Rows<R> {
    /// Room for a chunk.
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let room = |width: usize| vec![R::ZERO; attention.chunk * width];
        Self {
            raw: room(attention.key_dim()),
            middle: room(attention.middle_dim()),
            encoded: Tile::new(attention.chunk, attention.encoded_dim()),
            n: 0,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.n
    }

    /// The features that the normaliser sums, of row `i`: `Z` of them.
    #[inline(always)]
    pub fn summed(&self, attention: &LinearAttention<R>, i: usize) -> &[R] {
        if attention.sums_plain_features() {
            let width = attention.middle_dim();
            return &self.middle[i * width..][..width];
        }
        &self.encoded.row(i)[..attention.normalizer_dim()]
    }

    /// Becomes the rows of a chunk as they look the other way; what lies before φ or the encoding is not copied.
    pub fn turn(&mut self, head: &Head<'_, R>, side: Side, rows: &Self) {
        self.n = rows.n;
        self.encoded.copy_from(&rows.encoded);
        head.turn(side, self.encoded.rows_mut().take(rows.n));
        if head.attention.sums_plain_features() {
            let width = head.attention.middle_dim();
            let middle = &mut self.middle[..rows.n * width];
            middle.copy_from_slice(&rows.middle[..rows.n * width]);
            head.turn(side, middle.chunks_mut(width));
        }
    }

    /// Multiplies the rows by `λ^n`, whatever power they carry.
    pub fn pass(&mut self, fade: &Fade<R>, attention: &LinearAttention<R>, n: usize) {
        fade.pass(n, self.encoded.rows_mut().take(self.n));
        if attention.sums_plain_features() {
            fade.pass(n, self.middle.chunks_mut(attention.middle_dim()).take(self.n));
        }
    }
}

impl<R: FastMath> Head<'_, R> {
    /// Rows `from .. from + n` of queries or keys, counted from the segment's start.
    pub fn load(&self, side: Side, from: usize, n: usize, rows: &mut Rows<R>) {
        let attention = self.attention;
        let (k, width) = (attention.key_dim(), attention.encoded_dim());
        let Rows { raw, middle, encoded, .. } = rows;
        let (raw, middle) = (&mut raw[..n * k], &mut middle[..n * attention.middle_dim()]);
        let position = self.tokens.offset + from as i64;
        match attention.stage {
            Stage::AfterFeatureMap => {
                self.map(side, from, raw, middle);
                encoded
                    .write_rows(n, width, |out| self.encoder.encode(side, self.head, position, middle, out));
            }
            Stage::BeforeFeatureMap => {
                self.gather(self.tensor(side), k, from, raw);
                self.encoder.encode(side, self.head, position, raw, middle);
                encoded.write_rows(n, width, |out| attention.feature_map.apply(side, middle, out));
            }
        }
        rows.n = n;
        if let Some(fade) = self.fade {
            fade.apply(side, 0, rows.encoded.rows_mut().take(n));
            if attention.sums_plain_features() {
                fade.apply(side, 0, rows.middle.chunks_mut(attention.middle_dim()).take(n));
            }
        }
    }

    /// Gives all rows of a chunk the powers of λ with which they look the other way.
    pub fn turn<'x>(&self, side: Side, rows: impl ExactSizeIterator<Item = &'x mut [R]>)
    where
        R: 'x,
    {
        if let Some(fade) = self.fade {
            fade.turn(side, rows);
        }
    }

    /// φ of rows as given, which are gathered into `raw` if it takes them so.
    fn map(&self, side: Side, from: usize, raw: &mut [R], features: &mut [R]) {
        let k = self.attention.key_dim();
        match &self.attention.feature_map {
            BoundFeatureMap::Elementwise { map, .. } => {
                let (tensor, stride) = self.strided(self.tensor(side), k, from);
                map.apply_strided(k, tensor, stride, features);
            }
            BoundFeatureMap::Random(map) => {
                self.gather(self.tensor(side), k, from, raw);
                map.apply(side, raw, features);
            }
        }
    }

    /// The chunk from row `from` on, which comes next; empty after the last.
    pub fn after(&self, from: usize, turn: usize, of: usize) -> Next {
        let from = from.min(self.tokens.len);
        Next { turn, of, from, n: self.attention.chunk.min(self.tokens.len - from) }
    }

    /// The chunk before row `from`, which comes next on the way back; empty before the first.
    pub fn before(&self, from: usize, turn: usize, of: usize) -> Next {
        let first = from.saturating_sub(self.attention.chunk);
        Next { turn, of, from: first, n: from - first }
    }

    /// Rows of the values.
    pub fn load_values(&self, from: usize, n: usize, values: &mut Tile<R>) {
        let v = self.attention.value_dim;
        values.write_rows(n, v, |rows| self.gather(self.inputs.v, v, from, rows));
    }

    /// Rows of a tensor laid out as the output.
    pub fn load_output(&self, tensor: &[R], from: usize, n: usize, rows: &mut Tile<R>) {
        let v = self.attention.value_dim;
        rows.write_rows(n, v, |rows| self.gather(tensor, v, from, rows));
    }

    /// Gradient through the encoding and φ, from the encoded rows (and, where the normaliser sums plain features,
    /// `d_features`) to the rows as given, which it writes to `d_raw`. Uses up `rows`.
    pub fn vjp(
        &self,
        side: Side,
        from: usize,
        rows: &mut Rows<R>,
        d_encoded: &mut Tile<R>,
        d_features: &mut [R],
        d_params: &mut [f64],
        d_raw: &mut Columns<'_, R>,
        scratch: &mut Scratch<R>,
    ) {
        let (attention, n) = (self.attention, rows.n);
        self.fade_vjp(side, rows, d_encoded, d_features);
        let (k, middle_dim, width) = (attention.key_dim(), attention.middle_dim(), attention.encoded_dim());
        let (d_middle, d_x) = (&mut scratch.middle[..n * middle_dim], &mut scratch.raw[..n * k]);
        let (raw, middle) = (&rows.raw[..n * k], &rows.middle[..n * middle_dim]);
        let (encoded, d_encoded) = (rows.encoded.pack_rows(n, width), d_encoded.pack_rows(n, width));
        let position = self.tokens.offset + from as i64;
        let d = match attention.stage {
            Stage::AfterFeatureMap => {
                self.encoder.vjp(side, self.head, position, middle, encoded, d_encoded, d_middle, d_params);
                if attention.sums_plain_features() {
                    add(d_middle, d_features);
                }
                self.map_vjp(side, from, raw, middle, d_middle, d_x)
            }
            Stage::BeforeFeatureMap => {
                attention.feature_map.vjp(side, middle, encoded, d_encoded, d_middle);
                self.encoder.vjp(side, self.head, position, raw, middle, d_middle, d_x, d_params);
                d_x
            }
        };
        for (i, d) in d.chunks(k).enumerate() {
            d_raw.row(from + i).copy_from_slice(d);
        }
    }

    /// Through [`map`](Self::map), from `d_features`, in place or to `d_x`.
    fn map_vjp<'d>(
        &self,
        side: Side,
        from: usize,
        raw: &[R],
        features: &[R],
        d_features: &'d mut [R],
        d_x: &'d mut [R],
    ) -> &'d [R] {
        let k = self.attention.key_dim();
        match &self.attention.feature_map {
            BoundFeatureMap::Elementwise { map, .. } => {
                let (raw, stride) = self.strided(self.tensor(side), k, from);
                map.vjp_strided(k, raw, stride, features, d_features);
                d_features
            }
            BoundFeatureMap::Random(map) => {
                map.vjp(side, raw, features, d_features, d_x);
                d_x
            }
        }
    }

    /// Takes the decay out of rows, and brings it into their gradients.
    fn fade_vjp(&self, side: Side, rows: &mut Rows<R>, d_encoded: &mut Tile<R>, d_features: &mut [R]) {
        let Some(fade) = self.fade else { return };
        let (n, middle_dim) = (rows.n, self.attention.middle_dim());
        fade.undo(side, rows.encoded.rows_mut().take(n));
        fade.apply(side, 0, d_encoded.rows_mut().take(n));
        if self.attention.sums_plain_features() {
            fade.undo(side, rows.middle.chunks_mut(middle_dim).take(n));
            fade.apply(side, 0, d_features.chunks_mut(middle_dim));
        }
    }

    fn tensor(&self, side: Side) -> &[R] {
        match side {
            Side::Query => self.inputs.q,
            Side::Key => self.inputs.k,
        }
    }

    /// This head's columns from row `from` of its tokens on, and the distance of its rows.
    fn strided<'t>(&self, tensor: &'t [R], width: usize, from: usize) -> (&'t [R], usize) {
        (&tensor[self.at(width, from)..], self.attention.heads * width)
    }

    /// Where this head's row `from` of its tokens begins.
    fn at(&self, width: usize, from: usize) -> usize {
        ((self.tokens.start + from) * self.attention.heads + self.head) * width
    }

    /// Copies rows of this head's columns to consecutive places.
    fn gather(&self, tensor: &[R], width: usize, from: usize, rows: &mut [R]) {
        let (tensor, stride) = self.strided(tensor, width, from);
        FeatureMap::Identity.apply_strided(width, tensor, stride, rows);
    }
}

/// Room for gradients of a chunk's rows.
#[derive(Debug)]
pub(super) struct Scratch<R> {
    /// `[n, L]`.
    middle: Vec<R>,
    /// `[n, K]`.
    raw: Vec<R>,
}

impl<R: FastMath> Scratch<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let room = |width: usize| vec![R::ZERO; attention.chunk * width];
        Self { middle: room(attention.middle_dim()), raw: room(attention.key_dim()) }
    }
}

/// `sum += more`.
pub(super) fn add<R: FastMath>(sum: &mut [R], more: &[R]) {
    dispatch(
        #[inline(always)]
        || sum.iter_mut().zip(more).for_each(|(sum, &more)| *sum += more),
    );
}
