//! Attention to all keys: one sum over the keys, read by every query.
//!
//! ```text
//! S = S_0 + Σ_t k̃_t v_t^T,   z = z_0 + Σ_t g_t,        o_s = q̃_s^T S / d(f_s · z)
//! ```

use super::LinearAttention;
use super::border::{Border, KeysAndValues};
use super::call::{Cotangent, chunks};
use super::denominator::{SummedGradient, axpy};
use super::head::{Head, Rows};
use crate::columns::Columns;
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::simd::dispatch;
use crate::tiles::{Onto, Part, Term, Tile, product};

/// What a thread needs for one chunk of queries.
#[derive(Debug)]
pub(super) struct QueryWorkspace<R> {
    rows: Rows<R>,
    /// `n × V`.
    out: Tile<R>,
    d_out: Tile<R>,
    /// `[n]`.
    sums: Vec<R>,
    /// `n × K'`.
    d_rows: Tile<R>,
    d_features: Vec<R>,
    scratch: Vec<R>,
}

impl<R: FastMath> QueryWorkspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let (chunk, v) = (attention.chunk, attention.value_dim);
        let features = || vec![R::ZERO; chunk * attention.key_dim()];
        Self {
            rows: Rows::new(attention),
            out: Tile::new(chunk, v),
            d_out: Tile::new(chunk, v),
            sums: vec![R::ZERO; chunk],
            d_rows: Tile::new(chunk, attention.encoded_dim()),
            d_features: features(),
            scratch: features(),
        }
    }
}

/// Writes the outputs of the head's queries.
pub(super) fn forward<R: FastMath>(
    head: &Head<'_, R>,
    workspace: &mut QueryWorkspace<R>,
    border: &Border<R>,
    out: &mut Columns<'_, R>,
) {
    let attention = head.attention;
    let QueryWorkspace { rows, out: values, sums, .. } = workspace;
    for (from, n) in chunks(head.tokens.len, attention.chunk) {
        head.load(Side::Query, from, n, rows);
        attention.full_sums(&border.z, rows, &mut sums[..n]);
        values.resize(n, attention.value_dim);
        product(values, Part::Full, Onto::Zero, [Term::new(&rows.encoded, &border.s)]);
        attention.divide(&sums[..n], values, from, out);
    }
}

/// Writes the gradients of the head's queries and adds to that of the state they read.
pub(super) fn backward_queries<R: FastMath>(
    head: &Head<'_, R>,
    workspace: &mut QueryWorkspace<R>,
    cotangent: Cotangent<'_, R>,
    border: &Border<R>,
    d_border: &mut Border<R>,
    d_q: &mut Columns<'_, R>,
    d_params: &mut [f64],
) {
    let attention = head.attention;
    let QueryWorkspace { rows, out, d_out, sums, d_rows, d_features, scratch } = workspace;
    let mut s_t = Tile::new(attention.value_dim, attention.encoded_dim());
    s_t.transpose_of(&border.s);
    for (from, n) in chunks(head.tokens.len, attention.chunk) {
        head.load(Side::Query, from, n, rows);
        let sums = &mut sums[..n];
        attention.full_sums(&border.z, rows, sums);
        head.load_output(cotangent.out, from, n, out);
        head.load_output(cotangent.d_out, from, n, d_out);
        attention.divide_vjp(sums, out, d_out);
        d_rows.resize(n, attention.encoded_dim());
        product(d_rows, Part::Full, Onto::Zero, [Term::new(d_out, &s_t)]);
        product(&mut d_border.s, Part::Full, Onto::Itself, [Term::transposed(&rows.encoded, d_out)]);
        attention.add_weighted(sums, rows, &mut d_border.z);
        let d_features = &mut d_features[..n * attention.key_dim()];
        let mut d_f = SummedGradient::new(attention, d_rows, d_features);
        (sums.iter().enumerate()).for_each(|(i, &d)| axpy(d, &border.z, d_f.row(i)));
        head.vjp(Side::Query, from, rows, d_rows, d_features, d_params, d_q, scratch);
    }
}

impl<R: FastMath> LinearAttention<R> {
    /// `d_z += Σ_s d_s f_s`.
    pub(super) fn add_weighted(&self, d_sums: &[R], q: &Rows<R>, d_z: &mut [R]) {
        if d_z.is_empty() {
            return;
        }
        dispatch(
            #[inline(always)]
            || {
                for (i, &d) in d_sums.iter().enumerate() {
                    axpy(d, q.summed(self, i), d_z);
                }
            },
        );
    }
}

/// What a thread needs for one chunk of keys, backward.
#[derive(Debug)]
pub(super) struct KeyWorkspace<R> {
    kv: KeysAndValues<R>,
    /// `n × K'`.
    d_keys: Tile<R>,
    /// `n × V`.
    d_values: Tile<R>,
    d_features: Vec<R>,
    scratch: Vec<R>,
}

impl<R: FastMath> KeyWorkspace<R> {
    pub fn new(attention: &LinearAttention<R>) -> Self {
        let features = || vec![R::ZERO; attention.chunk * attention.key_dim()];
        Self {
            kv: KeysAndValues::new(attention),
            d_keys: Tile::new(attention.chunk, attention.encoded_dim()),
            d_values: Tile::new(attention.chunk, attention.value_dim),
            d_features: features(),
            scratch: features(),
        }
    }
}

/// Writes the gradients of the head's keys and values, given that of the state they are summed in.
pub(super) fn backward_keys<R: FastMath>(
    head: &Head<'_, R>,
    workspace: &mut KeyWorkspace<R>,
    d_border: &Border<R>,
    [d_k, d_v]: [&mut Columns<'_, R>; 2],
    d_params: &mut [f64],
) {
    let attention = head.attention;
    let KeyWorkspace { kv, d_keys, d_values, d_features, scratch } = workspace;
    let mut d_state_t = Tile::new(attention.value_dim, attention.encoded_dim());
    d_state_t.transpose_of(&d_border.s);
    for (from, n) in chunks(head.tokens.len, attention.chunk) {
        kv.load(head, from, n);
        d_keys.resize(n, attention.encoded_dim());
        product(d_keys, Part::Full, Onto::Zero, [Term::new(&kv.values, &d_state_t)]);
        d_values.resize(n, attention.value_dim);
        product(d_values, Part::Full, Onto::Zero, [Term::new(&kv.keys.encoded, &d_border.s)]);
        (0..n).for_each(|i| d_v.row(from + i).copy_from_slice(&d_values.row(i)[..attention.value_dim]));
        let d_features = &mut d_features[..n * attention.key_dim()];
        let mut d_g = SummedGradient::new(attention, d_keys, d_features);
        (0..n).for_each(|i| axpy(R::ONE, &d_border.z, d_g.row(i)));
        head.vjp(Side::Key, from, &mut kv.keys, d_keys, d_features, d_params, d_k, scratch);
    }
}
