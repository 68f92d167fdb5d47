//! One sequence and one head of a call: its rows, features, encodings and denominators.

use super::{Inputs, LinearAttention, Normalizer, State};
use crate::encoding::{Encoder, Side};
use crate::fast_math::FastMath;
use crate::segments::Segment;

/// The task of one (segment, head).
pub(super) struct Head<'a, R: FastMath> {
    pub attention: &'a LinearAttention<R>,
    pub encoder: &'a dyn Encoder<R>,
    pub inputs: Inputs<'a, R>,
    /// Index of the segment.
    pub row: usize,
    pub head: usize,
    pub queries: Segment,
    pub keys: Segment,
}

/// What the backward pass receives besides the inputs.
#[derive(Clone, Copy)]
pub(super) struct Cotangent<'a, R> {
    pub out: &'a [R],
    pub d_out: &'a [R],
    pub d_state: Option<&'a State<R>>,
}

/// Forward results of one task.
pub(super) struct Forward<R> {
    /// `[len, V]`.
    pub out: Vec<R>,
    /// `[K', V]`.
    pub s: Vec<R>,
    /// `[Z]`.
    pub z: Vec<R>,
}

/// Backward results of one task.
pub(super) struct Backward<R> {
    pub d_q: Vec<R>,
    pub d_k: Vec<R>,
    pub d_v: Vec<R>,
    pub d_s: Vec<R>,
    pub d_z: Vec<R>,
    pub d_params: Vec<f64>,
}

/// Rows of queries or keys on their way through φ and the encoding.
pub(super) struct Rows<R> {
    /// `[n, K]`, as given.
    pub raw: Vec<R>,
    /// `[n, K]`, `φ(raw)`.
    pub features: Vec<R>,
    /// `[n, K']`.
    pub encoded: Vec<R>,
}

impl<R: FastMath> Head<'_, R> {
    pub fn k(&self) -> usize {
        self.attention.key_dim()
    }

    pub fn encoded_dim(&self) -> usize {
        self.attention.encoded_dim()
    }

    pub fn v(&self) -> usize {
        self.attention.value_dim
    }

    pub fn z(&self) -> usize {
        self.attention.normalizer_dim()
    }

    /// Rows `from .. from + n` of queries or keys, counted from the segment's start.
    pub fn rows(&self, side: Side, from: usize, n: usize) -> Rows<R> {
        let (segment, tensor) = match side {
            Side::Query => (self.queries, self.inputs.q),
            Side::Key => (self.keys, self.inputs.k),
        };
        let k = self.k();
        let raw = self.gather(tensor, k, segment, from, n);
        let mut features = vec![R::ZERO; n * k];
        self.attention.feature_map.apply(k, &raw, &mut features);
        let mut encoded = vec![R::ZERO; n * self.encoded_dim()];
        let position = segment.offset + from as i64;
        self.encoder.encode(side, self.head, position, &features, &mut encoded);
        Rows { raw, features, encoded }
    }

    /// Rows of the values, `[n, V]`.
    pub fn values(&self, from: usize, n: usize) -> Vec<R> {
        self.gather(self.inputs.v, self.v(), self.keys, from, n)
    }

    /// Rows of a tensor laid out as the output, `[n, V]`.
    pub fn output_rows(&self, tensor: &[R], from: usize, n: usize) -> Vec<R> {
        self.gather(tensor, self.v(), self.queries, from, n)
    }

    fn gather(&self, tensor: &[R], width: usize, segment: Segment, from: usize, n: usize) -> Vec<R> {
        let stride = self.attention.heads * width;
        let first = (segment.start + from) * stride + self.head * width;
        let mut rows = Vec::with_capacity(n * width);
        (0..n).for_each(|i| rows.extend_from_slice(&tensor[first + i * stride..][..width]));
        rows
    }

    /// This task's part of the initial state.
    pub fn initial_state(&self) -> (Vec<R>, Vec<R>) {
        self.part_of(self.inputs.initial)
    }

    /// This task's part of a state, or zeros.
    pub fn part_of(&self, state: Option<&State<R>>) -> (Vec<R>, Vec<R>) {
        let at = self.row * self.attention.heads + self.head;
        let (size, z) = (self.encoded_dim() * self.v(), self.z());
        match state {
            Some(state) => (state.s[at * size..][..size].to_vec(), state.z[at * z..][..z].to_vec()),
            None => (vec![R::ZERO; size], vec![R::ZERO; z]),
        }
    }

    /// The features that the normaliser sums.
    pub fn summed<'r>(&self, rows: &'r Rows<R>) -> &'r [R] {
        match self.attention.normalizer {
            Normalizer::Encoded => &rows.encoded,
            Normalizer::Plain => &rows.features,
            Normalizer::None => &[],
        }
    }

    /// Gradient through the encoding and φ: from `d_encoded` (and `d_features`, if the normaliser gave any) to
    /// the raw rows.
    pub fn rows_vjp(
        &self,
        side: Side,
        from: usize,
        rows: &Rows<R>,
        d_encoded: &[R],
        d_features: Option<&[R]>,
        d_params: &mut [f64],
    ) -> Vec<R> {
        let offset = match side {
            Side::Query => self.queries.offset,
            Side::Key => self.keys.offset,
        };
        let mut d = vec![R::ZERO; rows.raw.len()];
        let position = offset + from as i64;
        self.encoder.vjp(side, self.head, position, &rows.features, d_encoded, &mut d, d_params);
        if let Some(d_features) = d_features {
            d.iter_mut().zip(d_features).for_each(|(d, &more)| *d += more);
        }
        self.attention.feature_map.vjp(&rows.raw, &rows.features, &mut d);
        d
    }

    /// Adds a gradient for the normaliser's features to where it belongs: the encoded features themselves, or
    /// (returned) the plain ones.
    pub fn add_summed<'d>(&self, d_encoded: &mut [R], d_summed: &'d [R]) -> Option<&'d [R]> {
        match self.attention.normalizer {
            Normalizer::Encoded => {
                d_encoded.iter_mut().zip(d_summed).for_each(|(d, &more)| *d += more);
                None
            }
            Normalizer::Plain => Some(d_summed),
            Normalizer::None => None,
        }
    }
}

pub(super) fn dot<R: FastMath>(a: &[R], b: &[R]) -> R {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// `into += factor · x`.
pub(super) fn axpy<R: FastMath>(factor: R, x: &[R], into: &mut [R]) {
    into.iter_mut().zip(x).for_each(|(into, &x)| *into += factor * x);
}
