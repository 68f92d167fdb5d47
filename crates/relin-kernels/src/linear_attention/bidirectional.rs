//! Attention to all keys: one sum over the keys, read by every query.
//!
//! ```text
//! S = S_0 + Σ_t k̃_t v_t^T,   z = z_0 + Σ_t g_t,        o_s = q̃_s^T S / d(f_s · z)
//! ```

use super::chunked::{column_sums, divide_backward};
use super::head::{Backward, Cotangent, Forward, Head, Rows, axpy, dot};
use crate::encoding::Side;
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};

pub(super) fn forward<R: FastMath>(head: &Head<'_, R>) -> Forward<R> {
    let (len, chunk) = (head.queries.len, head.attention.chunk);
    let (encoded, v) = (head.encoded_dim(), head.v());
    let (s, z) = sum_keys(head);
    let mut out = vec![R::ZERO; len * v];
    for from in (0..len).step_by(chunk) {
        let n = chunk.min(len - from);
        let q = head.rows(Side::Query, from, n);
        let out = &mut out[from * v..][..n * v];
        matmul(out, Into::Overwrite, Mat::new(&q.encoded, n, encoded), Mat::new(&s, encoded, v));
        for (out, sum) in out.chunks_mut(v).zip(score_sums(head, &z, &q)) {
            let (divisor, _) = head.attention.divisor(sum);
            out.iter_mut().for_each(|x| *x = *x / divisor);
        }
    }
    Forward { out, s, z }
}

fn sum_keys<R: FastMath>(head: &Head<'_, R>) -> (Vec<R>, Vec<R>) {
    let (len, chunk) = (head.keys.len, head.attention.chunk);
    let (encoded, v) = (head.encoded_dim(), head.v());
    let (mut s, mut z) = head.initial_state();
    for from in (0..len).step_by(chunk) {
        let n = chunk.min(len - from);
        let k = head.rows(Side::Key, from, n);
        let values = head.values(from, n);
        matmul(&mut s, Into::Accumulate, Mat::new(&k.encoded, n, encoded).t(), Mat::new(&values, n, v));
        axpy(R::ONE, &column_sums(head.summed(&k), head.z()), &mut z);
    }
    (s, z)
}

fn score_sums<R: FastMath>(head: &Head<'_, R>, z: &[R], q: &Rows<R>) -> Vec<R> {
    if z.is_empty() {
        return vec![R::ONE; q.raw.len() / head.k()];
    }
    head.summed(q).chunks(z.len()).map(|f| dot(f, z)).collect()
}

pub(super) fn backward<R: FastMath>(head: &Head<'_, R>, cotangent: Cotangent<'_, R>) -> Backward<R> {
    let (s, z) = sum_keys(head);
    let (mut d_s, mut d_z) = head.part_of(cotangent.d_state);
    let mut d_params = vec![0.0; head.inputs.params.len()];
    let d_q = queries_backward(head, cotangent, &s, &z, &mut d_s, &mut d_z, &mut d_params);
    let (d_k, d_v) = keys_backward(head, &d_s, &d_z, &mut d_params);
    Backward { d_q, d_k, d_v, d_s, d_z, d_params }
}

fn queries_backward<R: FastMath>(
    head: &Head<'_, R>,
    cotangent: Cotangent<'_, R>,
    s: &[R],
    z: &[R],
    d_s: &mut [R],
    d_z: &mut [R],
    d_params: &mut [f64],
) -> Vec<R> {
    let (len, chunk) = (head.queries.len, head.attention.chunk);
    let (encoded, v) = (head.encoded_dim(), head.v());
    let mut all = Vec::with_capacity(len * head.k());
    for from in (0..len).step_by(chunk) {
        let n = chunk.min(len - from);
        let q = head.rows(Side::Query, from, n);
        let out = head.output_rows(cotangent.out, from, n);
        let mut d_sums = head.output_rows(cotangent.d_out, from, n);
        let d_scores = divide_backward(head, &score_sums(head, z, &q), &out, &mut d_sums);
        let d_mat = Mat::new(&d_sums, n, v);
        let mut d_q = vec![R::ZERO; n * encoded];
        matmul(&mut d_q, Into::Overwrite, d_mat, Mat::new(s, encoded, v).t());
        matmul(d_s, Into::Accumulate, Mat::new(&q.encoded, n, encoded).t(), d_mat);
        let mut d_f = vec![R::ZERO; n * z.len()];
        if !z.is_empty() {
            let rows = d_f.chunks_mut(z.len()).zip(head.summed(&q).chunks(z.len()));
            for ((d_f, f), &d) in rows.zip(&d_scores) {
                axpy(d, z, d_f);
                axpy(d, f, d_z);
            }
        }
        let d_features = head.add_summed(&mut d_q, &d_f);
        all.extend(head.rows_vjp(Side::Query, from, &q, &d_q, d_features, d_params));
    }
    all
}

fn keys_backward<R: FastMath>(
    head: &Head<'_, R>,
    d_s: &[R],
    d_z: &[R],
    d_params: &mut [f64],
) -> (Vec<R>, Vec<R>) {
    let (len, chunk) = (head.keys.len, head.attention.chunk);
    let (encoded, v) = (head.encoded_dim(), head.v());
    let (mut d_ks, mut d_vs) = (Vec::with_capacity(len * head.k()), vec![R::ZERO; len * v]);
    for from in (0..len).step_by(chunk) {
        let n = chunk.min(len - from);
        let k = head.rows(Side::Key, from, n);
        let values = head.values(from, n);
        let d_state = Mat::new(d_s, encoded, v);
        let mut d_k = vec![R::ZERO; n * encoded];
        matmul(&mut d_k, Into::Overwrite, Mat::new(&values, n, v), d_state.t());
        let d_v = &mut d_vs[from * v..][..n * v];
        matmul(d_v, Into::Overwrite, Mat::new(&k.encoded, n, encoded), d_state);
        let d_g = d_z.repeat(n);
        let d_features = head.add_summed(&mut d_k, &d_g);
        d_ks.extend(head.rows_vjp(Side::Key, from, &k, &d_k, d_features, d_params));
    }
    (d_ks, d_vs)
}
