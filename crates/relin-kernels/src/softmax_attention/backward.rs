//! The backward in tiles: probabilities are recomputed from the scores and the saved log-sum-exp.
//!
//! With `p_ij = e^(s_ij − lse_i)` and `δ_i = dout_i·out_i`: `dv_j = Σ_i p_ij dout_i`,
//! `ds_ij = p_ij (dout_i·v_j − δ_i)`, and without decay and bias `dq_i = scale Σ_j ds_ij k_j`, `dk_j = scale Σ_i ds_ij q_i`.
//!
//! One task takes one head of one segment, so that all five products are done once and summed in a fixed order.

use rayon::prelude::*;

use super::logits::BlockGradients;
use super::tiled::{KEYS, QUERIES};
use super::{AttentionError, Gradients, Inputs, Pair, SoftmaxAttention};
use crate::fast_math::FastMath;
use crate::matmul::{Into, Mat, matmul};
use crate::real::Real;
use crate::reduce::sum2;
use crate::segments::Mask;
use crate::segments::Segment;
use crate::simd::dispatch;

/// What the forward wrote, and the gradient that comes back.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, R> {
    /// Outputs `[Nq, H, V]`.
    pub out: &'a [R],
    /// Log-sum-exps `[Nq, H]`.
    pub lse: &'a [R],
    /// Gradient of the outputs `[Nq, H, V]`.
    pub dout: &'a [R],
}

impl<R: FastMath> SoftmaxAttention<R> {
    /// Writes dq, dk, dv and the gradient of the bias's parameters.
    ///
    /// # Shapes
    /// As [`Inputs`], [`Saved`] and [`Gradients`] say.
    ///
    /// # Cost
    /// `2 (3K + 2V)` FLOPs per visible pair and head, and what the bias adds; scratch memory of about twice the gradients, those
    /// of the parameters once for each segment and head.
    ///
    /// # Errors
    /// If shapes or segments do not fit.
    pub fn backward(
        &self,
        gradients: Gradients<'_, R>,
        inputs: Inputs<'_, R>,
        saved: Saved<'_, R>,
        mask: Mask<'_>,
    ) -> Result<(), AttentionError> {
        let pairs = self.check(inputs, mask)?;
        let (query_tokens, key_tokens) = self.tokens(inputs);
        let Gradients { dq, dk, dv, d_params } = gradients;
        for (name, found, tokens, width) in [
            ("out", saved.out.len(), query_tokens, self.value_dim),
            ("lse", saved.lse.len(), query_tokens, 1),
            ("dout", saved.dout.len(), query_tokens, self.value_dim),
            ("dq", dq.len(), query_tokens, self.key_dim),
            ("dk", dk.len(), key_tokens, self.key_dim),
            ("dv", dv.len(), key_tokens, self.value_dim),
        ] {
            self.check_len(name, found, tokens, width)?;
        }
        if d_params.len() != self.params {
            let (expected, found) = (self.params, d_params.len());
            return Err(AttentionError::Parameters { expected, found });
        }
        let task = |index: usize| {
            let mut head = Head::new(self, pairs[index / self.heads], index % self.heads, inputs, saved);
            head.run();
            head
        };
        let heads: Vec<Head<R>> = (0..pairs.len() * self.heads).into_par_iter().map(task).collect();
        self.interleave(dq, &heads, self.key_dim, |h| (h.pair.queries, &h.dq));
        self.interleave(dk, &heads, self.key_dim, |h| (h.pair.keys, &h.dk));
        self.interleave(dv, &heads, self.value_dim, |h| (h.pair.keys, &h.dv));
        for (i, d) in d_params.iter_mut().enumerate() {
            *d = R::from_f64(heads.iter().map(|head| head.d_params[i]).sum());
        }
        Ok(())
    }

    /// Brings the heads' results back into token order.
    fn interleave<'h>(
        &self,
        out: &mut [R],
        heads: &'h [Head<'h, R>],
        width: usize,
        part: impl Fn(&'h Head<'h, R>) -> (Segment, &'h Vec<R>) + Sync,
    ) {
        out.fill(R::ZERO);
        if out.is_empty() {
            return;
        }
        let token_width = self.heads * width;
        for heads in heads.chunks(self.heads) {
            let segment = part(&heads[0]).0;
            let out = &mut out[segment.start * token_width..][..segment.len * token_width];
            out.par_chunks_mut(QUERIES * token_width).enumerate().for_each(|(block, out)| {
                for (h, head) in heads.iter().enumerate() {
                    let rows = part(head).1[block * QUERIES * width..].chunks_exact(width);
                    for (token, row) in out.chunks_exact_mut(token_width).zip(rows) {
                        token[h * width..][..width].copy_from_slice(row);
                    }
                }
            });
        }
    }
}

/// One head of one pair of segments, its operands contiguous.
struct Head<'a, R: Real> {
    attention: &'a SoftmaxAttention<R>,
    params: &'a [R],
    pair: Pair,
    head: usize,
    /// Queries times the scale.
    q: Vec<R>,
    k: Vec<R>,
    v: Vec<R>,
    dout: Vec<R>,
    lse: Vec<R>,
    delta: Vec<R>,
    dq: Vec<R>,
    dk: Vec<R>,
    dv: Vec<R>,
    d_params: Vec<f64>,
}

impl<'a, R: FastMath> Head<'a, R> {
    fn new(
        attention: &'a SoftmaxAttention<R>,
        pair: Pair,
        head: usize,
        inputs: Inputs<'a, R>,
        saved: Saved<'_, R>,
    ) -> Self {
        let SoftmaxAttention { key_dim, value_dim, scale, .. } = *attention;
        let scale = R::from_f64(scale);
        let gather = |x: &[R], segment: Segment, width: usize, scale: R| {
            let mut rows = vec![R::ZERO; segment.len * width];
            attention.gather(&mut rows, x, segment.start, head, width, scale);
            rows
        };
        let dout = gather(saved.dout, pair.queries, value_dim, R::ONE);
        let out = gather(saved.out, pair.queries, value_dim, R::ONE);
        let width = value_dim.max(1);
        let mut delta: Vec<R> = dout
            .chunks_exact(width)
            .zip(out.chunks_exact(width))
            .map(|(a, b)| sum2(a, b, |a, b| a * b))
            .collect();
        delta.resize(pair.queries.len, R::ZERO);
        Self {
            attention,
            params: inputs.params,
            pair,
            head,
            q: gather(inputs.q, pair.queries, key_dim, scale),
            k: gather(inputs.k, pair.keys, key_dim, R::ONE),
            v: gather(inputs.v, pair.keys, value_dim, R::ONE),
            dout,
            lse: gather(saved.lse, pair.queries, 1, R::ONE),
            delta,
            dq: vec![R::ZERO; pair.queries.len * key_dim],
            dk: vec![R::ZERO; pair.keys.len * key_dim],
            dv: vec![R::ZERO; pair.keys.len * value_dim],
            d_params: vec![0.0; inputs.params.len()],
        }
    }

    fn run(&mut self) {
        let mut scratch = [vec![R::ZERO; QUERIES * KEYS], vec![R::ZERO; QUERIES * KEYS]];
        for query in (0..self.pair.queries.len).step_by(QUERIES) {
            let rows = QUERIES.min(self.pair.queries.len - query);
            let limit = self.pair.visible(query + rows - 1);
            for key in (0..limit).step_by(KEYS) {
                self.tile(&mut scratch, query, rows, key, KEYS.min(limit - key));
            }
        }
        let scale = R::from_f64(self.attention.scale);
        self.dq.iter_mut().for_each(|d| *d *= scale);
        self.free_inputs();
    }

    fn tile(&mut self, [p, dp]: &mut [Vec<R>; 2], query: usize, rows: usize, key: usize, keys: usize) {
        let SoftmaxAttention { key_dim, value_dim, .. } = *self.attention;
        let (queries, key_rows) =
            (query * key_dim..(query + rows) * key_dim, key * key_dim..(key + keys) * key_dim);
        let k = Mat::new(&self.k[key_rows.clone()], keys, key_dim);
        let block = self.pair.block(self.head, (query, &self.q[queries.clone()]), (key, k), (rows, keys));
        let dout = Mat::new(&self.dout[query * value_dim..], rows, value_dim);
        let v = Mat::new(&self.v[key * value_dim..], keys, value_dim);
        let (p, dp) = (&mut p[..rows * keys], &mut dp[..rows * keys]);
        self.attention.logits(p, block, self.params);
        matmul(dp, Into::Overwrite, dout, v.t());
        self.differentiate(p, dp, query, key, keys);
        let dv = &mut self.dv[key * value_dim..][..keys * value_dim];
        matmul(dv, Into::Accumulate, Mat::new(p, rows, keys).t(), dout);
        let (dq, dk) = (&mut self.dq[queries], &mut self.dk[key_rows]);
        let gradients = BlockGradients { dq, dk, d_params: &mut self.d_params };
        self.attention.logits_vjp(dp, block, self.params, gradients);
    }

    /// Scores become probabilities, and dp becomes ds.
    fn differentiate(&self, p: &mut [R], dp: &mut [R], query: usize, key: usize, keys: usize) {
        dispatch(
            #[inline(always)]
            || {
                for (r, (p, dp)) in p.chunks_exact_mut(keys).zip(dp.chunks_exact_mut(keys)).enumerate() {
                    let visible = self.pair.visible(query + r).saturating_sub(key).min(keys);
                    let (lse, delta) = (self.lse[query + r], self.delta[query + r]);
                    p[visible..].fill(R::ZERO);
                    dp[visible..].fill(R::ZERO);
                    for (p, dp) in p[..visible].iter_mut().zip(&mut dp[..visible]) {
                        *p = (*p - lse).fast_exp();
                        *dp = *p * (*dp - delta);
                    }
                }
            },
        );
    }

    /// The results wait for the other heads; the copies of the inputs need not.
    fn free_inputs(&mut self) {
        for copy in [&mut self.q, &mut self.k, &mut self.v, &mut self.dout] {
            *copy = Vec::new();
        }
    }
}
