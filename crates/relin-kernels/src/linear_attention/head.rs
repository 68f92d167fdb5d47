//! One sequence and one head of a call: its rows on their way through φ and the encoding, and back.

use super::{Inputs, LinearAttention, Normalizer};
use crate::columns::Columns;
use crate::encoding::{Encoder, Side};
use crate::fast_math::FastMath;
use crate::feature_map::FeatureMap;
use crate::segments::Segment;
use crate::simd::{dispatch, prefetch};
use crate::tiles::Tile;

/// One head of a run of tokens: a segment, or a piece of one.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, R: FastMath> {
    pub attention: &'a LinearAttention<R>,
    pub encoder: &'a dyn Encoder<R>,
    pub inputs: Inputs<'a, R>,
    pub head: usize,
    pub tokens: Segment,
}

/// A chunk of queries or keys.
#[derive(Debug)]
pub(super) struct Rows<R> {
    /// `[n, K]`.
    /// `[n, K]`, after φ.
    features: Vec<R>,
    /// `n × K'`.
    pub encoded: Tile<R>,
    n: usize,
}

impl<R: FastMath> Rows<R> {
    /// Room for a chunk.
    pub fn new(attention: &LinearAttention<R>) -> Self {
        Self {
            features: vec![R::ZERO; attention.chunk * attention.key_dim()],
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
        match attention.normalizer {
            Normalizer::Encoded => &self.encoded.row(i)[..attention.encoded_dim()],
            Normalizer::Plain => &self.features[i * attention.key_dim()..][..attention.key_dim()],
            Normalizer::None => &[],
        }
    }
}

impl<R: FastMath> Head<'_, R> {
    /// Rows `from .. from + n` of queries or keys, counted from the segment's start.
    pub fn load(&self, side: Side, from: usize, n: usize, rows: &mut Rows<R>) {
        let (k, encoded_dim) = (self.attention.key_dim(), self.attention.encoded_dim());
        let Rows { features, encoded, .. } = rows;
        let features = &mut features[..n * k];
        let (raw, stride) = self.strided(self.tensor(side), k, from);
        self.attention.feature_map.apply_strided(k, raw, stride, features);
        let position = self.tokens.offset + from as i64;
        encoded
            .write_rows(n, encoded_dim, |out| self.encoder.encode(side, self.head, position, features, out));
        rows.n = n;
        self.prefetch(self.tensor(side), k, from);
    }

    /// Asks the memory for the rows of the chunk after `from`, to be loaded when the other heads have had their turn.
    pub fn prefetch(&self, tensor: &[R], width: usize, from: usize) {
        let next = from + self.attention.chunk;
        let rows = self.attention.chunk.min(self.tokens.len.saturating_sub(next));
        if rows > 0 {
            let (tensor, stride) = self.strided(tensor, width, next);
            for row in tensor.chunks(stride).take(rows) {
                prefetch(&row[..width]);
            }
        }
    }

    /// Rows of the values.
    pub fn load_values(&self, from: usize, n: usize, values: &mut Tile<R>) {
        let v = self.attention.value_dim;
        values.write_rows(n, v, |rows| self.gather(self.inputs.v, v, from, rows));
        self.prefetch(self.inputs.v, v, from);
    }

    /// Rows of a tensor laid out as the output.
    pub fn load_output(&self, tensor: &[R], from: usize, n: usize, rows: &mut Tile<R>) {
        let v = self.attention.value_dim;
        rows.write_rows(n, v, |rows| self.gather(tensor, v, from, rows));
    }

    /// Gradient through the encoding and φ, from the encoded rows (and, with the normaliser `plain`, `d_features`) to
    /// the rows as given, which it writes to `d_raw`. Uses up `rows`.
    pub fn vjp(
        &self,
        side: Side,
        from: usize,
        rows: &mut Rows<R>,
        d_encoded: &mut Tile<R>,
        d_features: &[R],
        d_params: &mut [f64],
        d_raw: &mut Columns<'_, R>,
        scratch: &mut [R],
    ) {
        let (k, encoded_dim, n) = (self.attention.key_dim(), self.attention.encoded_dim(), rows.n);
        let d = &mut scratch[..n * k];
        let features = &rows.features[..n * k];
        let position = self.tokens.offset + from as i64;
        let encoded = rows.encoded.pack_rows(n, encoded_dim);
        let d_encoded = d_encoded.pack_rows(n, encoded_dim);
        self.encoder.vjp(side, self.head, position, features, encoded, d_encoded, d, d_params);
        if self.attention.normalizer == Normalizer::Plain {
            dispatch(
                #[inline(always)]
                || {
                    for (d, &more) in d.iter_mut().zip(d_features) {
                        *d += more;
                    }
                },
            );
        }
        let (raw, stride) = self.strided(self.tensor(side), k, from);
        self.attention.feature_map.vjp_strided(k, raw, stride, features, d);
        for (i, d) in d.chunks(k).enumerate() {
            d_raw.row(from + i).copy_from_slice(d);
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
        let stride = self.attention.heads * width;
        (&tensor[(self.tokens.start + from) * stride + self.head * width..], stride)
    }

    /// Copies rows of this head's columns to consecutive places.
    fn gather(&self, tensor: &[R], width: usize, from: usize, rows: &mut [R]) {
        let (tensor, stride) = self.strided(tensor, width, from);
        FeatureMap::Identity.apply_strided(width, tensor, stride, rows);
    }
}
