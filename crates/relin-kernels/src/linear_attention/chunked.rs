//! Causal attention in chunks of C tokens: quadratic within a chunk, a state between chunks.
//!
//! ```text
//! O_c = tril(Q̃_c K̃_c^T) V_c + Q̃_c S_c         S_{c+1} = S_c + K̃_c^T V_c
//! ```

use super::head::{Backward, Cotangent, Forward, Head, Rows, axpy, dot};
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};

/// State at a chunk's border.
#[derive(Clone)]
struct Border<R> {
    s: Vec<R>,
    z: Vec<R>,
}

pub(super) fn forward<R: FastMath>(head: &Head<'_, R>) -> Forward<R> {
    let (len, v) = (head.queries.len, head.v());
    let (s, z) = head.initial_state();
    let mut border = Border { s, z };
    let mut out = vec![R::ZERO; len * v];
    for from in (0..len).step_by(head.attention.chunk) {
        let n = head.attention.chunk.min(len - from);
        let q = head.rows(Side::Query, from, n);
        let k = head.rows(Side::Key, from, n);
        let values = head.values(from, n);
        let out = &mut out[from * v..][..n * v];
        let scores = causal_product(&q.encoded, &k.encoded, n);
        matmul(out, Into::Overwrite, Mat::new(&scores, n, n), Mat::new(&values, n, v));
        let encoded = head.encoded_dim();
        matmul(out, Into::Accumulate, Mat::new(&q.encoded, n, encoded), Mat::new(&border.s, encoded, v));
        for (out, sum) in out.chunks_mut(v).zip(score_sums(head, &border.z, &q, &k)) {
            let (divisor, _) = head.attention.divisor(sum);
            out.iter_mut().for_each(|x| *x = *x / divisor);
        }
        advance(head, &mut border, &k, &values);
    }
    Forward { out, s: border.s, z: border.z }
}

/// `tril(A B^T)` for two `[n, width]` matrices.
fn causal_product<R: FastMath>(a: &[R], b: &[R], n: usize) -> Vec<R> {
    let width = a.len() / n;
    let mut product = vec![R::ZERO; n * n];
    matmul(&mut product, Into::Overwrite, Mat::new(a, n, width), Mat::new(b, n, width).t());
    for i in 0..n {
        product[i * n + i + 1..(i + 1) * n].fill(R::ZERO);
    }
    product
}

/// The denominators' sums `f_s · Σ_{t ≤ s} g_t`, the chunk's own part summed apart from what came before.
fn score_sums<R: FastMath>(head: &Head<'_, R>, before: &[R], q: &Rows<R>, k: &Rows<R>) -> Vec<R> {
    let width = head.z();
    if width == 0 {
        return vec![R::ONE; q.raw.len() / head.k()];
    }
    let mut own = vec![R::ZERO; width];
    let sum = |(f, g): (&[R], &[R])| {
        axpy(R::ONE, g, &mut own);
        dot(f, before) + dot(f, &own)
    };
    head.summed(q).chunks(width).zip(head.summed(k).chunks(width)).map(sum).collect()
}

fn advance<R: FastMath>(head: &Head<'_, R>, border: &mut Border<R>, k: &Rows<R>, values: &[R]) {
    let (encoded, v) = (head.encoded_dim(), head.v());
    let n = values.len() / v;
    let keys = Mat::new(&k.encoded, n, encoded);
    matmul(&mut border.s, Into::Accumulate, keys.t(), Mat::new(values, n, v));
    let own = column_sums(head.summed(k), head.z());
    axpy(R::ONE, &own, &mut border.z);
}

/// Sums over the rows, of the chunk alone: adding them to the state once a chunk keeps rounding from growing with
/// the number of tokens.
pub(super) fn column_sums<R: FastMath>(rows: &[R], width: usize) -> Vec<R> {
    let mut sums = vec![R::ZERO; width];
    if width > 0 {
        rows.chunks(width).for_each(|row| axpy(R::ONE, row, &mut sums));
    }
    sums
}

pub(super) fn backward<R: FastMath>(head: &Head<'_, R>, cotangent: Cotangent<'_, R>) -> Backward<R> {
    let (len, k, v, chunk) = (head.queries.len, head.k(), head.v(), head.attention.chunk);
    let borders = borders(head);
    let (d_s, d_z) = head.part_of(cotangent.d_state);
    let mut d_border = Border { s: d_s, z: d_z };
    let mut d_params = vec![0.0; head.inputs.params.len()];
    let (mut d_q, mut d_k) = (vec![R::ZERO; len * k], vec![R::ZERO; len * k]);
    let mut d_v = vec![R::ZERO; len * v];
    for (c, border) in borders.iter().enumerate().rev() {
        let from = c * chunk;
        let n = chunk.min(len - from);
        let d = chunk_backward(head, cotangent, from, n, border, &mut d_border, &mut d_params);
        d_q[from * k..][..n * k].copy_from_slice(&d.q);
        d_k[from * k..][..n * k].copy_from_slice(&d.k);
        d_v[from * v..][..n * v].copy_from_slice(&d.v);
    }
    Backward { d_q, d_k, d_v, d_s: d_border.s, d_z: d_border.z, d_params }
}

/// The state before each chunk, recomputed.
fn borders<R: FastMath>(head: &Head<'_, R>) -> Vec<Border<R>> {
    let (len, chunk) = (head.keys.len, head.attention.chunk);
    let (s, z) = head.initial_state();
    let mut border = Border { s, z };
    let mut borders = Vec::with_capacity(len.div_ceil(chunk));
    for from in (0..len).step_by(chunk) {
        borders.push(border.clone());
        if from + chunk < len {
            advance(head, &mut border, &head.rows(Side::Key, from, chunk), &head.values(from, chunk));
        }
    }
    borders
}

struct ChunkGradients<R> {
    q: Vec<R>,
    k: Vec<R>,
    v: Vec<R>,
}

/// Gradients of one chunk; `d_border` is the gradient of the state after it and becomes that of the state before.
fn chunk_backward<R: FastMath>(
    head: &Head<'_, R>,
    cotangent: Cotangent<'_, R>,
    from: usize,
    n: usize,
    border: &Border<R>,
    d_border: &mut Border<R>,
    d_params: &mut [f64],
) -> ChunkGradients<R> {
    let (encoded, v) = (head.encoded_dim(), head.v());
    let q = head.rows(Side::Query, from, n);
    let k = head.rows(Side::Key, from, n);
    let values = head.values(from, n);
    let out = head.output_rows(cotangent.out, from, n);
    let mut d_sums = head.output_rows(cotangent.d_out, from, n);
    let d_scores = divide_backward(head, &score_sums(head, &border.z, &q, &k), &out, &mut d_sums);

    let weights = causal_product(&q.encoded, &k.encoded, n);
    let d_weights = causal_product(&d_sums, &values, n);
    let square = Mat::new(&weights, n, n);
    let d_square = Mat::new(&d_weights, n, n);
    let (q_mat, k_mat) = (Mat::new(&q.encoded, n, encoded), Mat::new(&k.encoded, n, encoded));
    let (v_mat, d_mat) = (Mat::new(&values, n, v), Mat::new(&d_sums, n, v));
    let mut d_q = vec![R::ZERO; n * encoded];
    matmul(&mut d_q, Into::Overwrite, d_square, k_mat);
    matmul(&mut d_q, Into::Accumulate, d_mat, Mat::new(&border.s, encoded, v).t());
    let mut d_k = vec![R::ZERO; n * encoded];
    matmul(&mut d_k, Into::Overwrite, d_square.t(), q_mat);
    matmul(&mut d_k, Into::Accumulate, v_mat, Mat::new(&d_border.s, encoded, v).t());
    let mut d_v = vec![R::ZERO; n * v];
    matmul(&mut d_v, Into::Overwrite, square.t(), d_mat);
    matmul(&mut d_v, Into::Accumulate, k_mat, Mat::new(&d_border.s, encoded, v));
    matmul(&mut d_border.s, Into::Accumulate, q_mat.t(), d_mat);

    let (d_f, d_g) = score_sums_backward(head, &border.z, &mut d_border.z, &q, &k, &d_scores);
    let d_q_features = head.add_summed(&mut d_q, &d_f);
    let d_k_features = head.add_summed(&mut d_k, &d_g);
    ChunkGradients {
        q: head.rows_vjp(Side::Query, from, &q, &d_q, d_q_features, d_params),
        k: head.rows_vjp(Side::Key, from, &k, &d_k, d_k_features, d_params),
        v: d_v,
    }
}

/// Through `o = sum / divisor`: turns `d_out` into the gradient of the weighted sums, in place, and returns that of
/// the sums of scores, `−(d_o · o) / divisor`.
pub(super) fn divide_backward<R: FastMath>(
    head: &Head<'_, R>,
    sums: &[R],
    out: &[R],
    d_out: &mut [R],
) -> Vec<R> {
    let v = head.v();
    let through = |((&sum, out), d_out): ((&R, &[R]), &mut [R])| {
        let (divisor, reached) = head.attention.divisor(sum);
        let d_sum = if reached { -dot(d_out, out) / divisor } else { R::ZERO };
        d_out.iter_mut().for_each(|d| *d = *d / divisor);
        d_sum
    };
    sums.iter().zip(out.chunks(v)).zip(d_out.chunks_mut(v)).map(through).collect()
}

/// Through `sum_s = f_s · (z + Σ_{t ≤ s} g_t)`: gradients of f and g, and `d_z` from after the chunk to before it.
fn score_sums_backward<R: FastMath>(
    head: &Head<'_, R>,
    before: &[R],
    d_z: &mut [R],
    q: &Rows<R>,
    k: &Rows<R>,
    d_sums: &[R],
) -> (Vec<R>, Vec<R>) {
    let width = head.z();
    if width == 0 {
        return (Vec::new(), Vec::new());
    }
    let (f, g) = (head.summed(q), head.summed(k));
    let mut own = before.to_vec();
    let mut d_f = vec![R::ZERO; f.len()];
    for ((d_f, g), &d) in d_f.chunks_mut(width).zip(g.chunks(width)).zip(d_sums) {
        axpy(R::ONE, g, &mut own);
        axpy(d, &own, d_f);
    }
    let mut d_g = vec![R::ZERO; g.len()];
    for ((d_g, f), &d) in d_g.chunks_mut(width).zip(f.chunks(width)).zip(d_sums).rev() {
        axpy(d, f, d_z);
        d_g.copy_from_slice(d_z);
    }
    (d_f, d_g)
}
