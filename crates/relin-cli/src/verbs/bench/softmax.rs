//! Softmax attention of encoded queries and keys, as models use it: RoPE before the scores.

use std::sync::Arc;

use rayon::prelude::*;
use relin_kernels::encoding::{Encoder, Encoding, Side};
use relin_kernels::fast_math::FastMath;
use relin_kernels::linear_attention;
use relin_kernels::segments::{Mask, Segment};
use relin_kernels::softmax_attention::{Gradients, Inputs, Saved, SoftmaxAttention, naive};

use super::definition::Direction;
use super::error::BenchError;
use super::inputs::Tensors;
use super::operator::Results;

/// Tokens that a thread encodes at once.
const BLOCK: usize = 256;

/// Attention after an encoding.
pub struct EncodedSoftmax<R: FastMath> {
    encoding: Arc<dyn Encoding<R>>,
    attention: SoftmaxAttention<R>,
}

impl<R: FastMath> EncodedSoftmax<R> {
    pub fn new(encoding: Arc<dyn Encoding<R>>, heads: usize, value_dim: usize) -> Self {
        let attention = SoftmaxAttention::encoded(&*encoding, heads, value_dim);
        Self { encoding, attention }
    }

    pub fn encoded_dim(&self) -> usize {
        self.attention.key_dim
    }

    /// Forward and backward.
    pub fn flops(&self, mask: Mask<'_>) -> (u64, u64) {
        (self.attention.forward_flops(mask), self.attention.backward_flops(mask))
    }

    pub fn run(
        &self,
        params: &[R],
        direction: Direction,
        segments: &[Segment],
        x: &Tensors<R>,
    ) -> Result<Results<R>, BenchError> {
        let encoder = self.encoding.bind(params);
        let q = self.encode(&*encoder, Side::Query, segments, &x.q);
        let k = self.encode(&*encoder, Side::Key, segments, &x.k);
        let (mut out, mut lse) =
            (vec![R::ZERO; x.v.len()], vec![R::ZERO; x.v.len() / self.attention.value_dim]);
        let (inputs, mask) = (Inputs { q: &q, k: &k, v: &x.v, params: &[] }, Mask::causal(segments));
        self.attention.forward(&mut out, &mut lse, inputs, mask)?;
        let mut bytes = size_of_val(&*out);
        if direction == Direction::Forward {
            return Ok(Results { out, gradients: None, bytes });
        }
        let (mut dq, mut dk) = (vec![R::ZERO; q.len()], vec![R::ZERO; k.len()]);
        let mut dv = vec![R::ZERO; x.v.len()];
        let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv, d_params: &mut [] };
        let saved = Saved { out: &out, lse: &lse, dout: &x.d_out };
        self.attention.backward(gradients, inputs, saved, mask)?;
        let d_q = self.encode_vjp(&*encoder, Side::Query, segments, &x.q, &dq);
        let d_k = self.encode_vjp(&*encoder, Side::Key, segments, &x.k, &dk);
        bytes += [&d_q, &d_k, &dv].iter().map(|d| size_of_val(d.as_slice())).sum::<usize>();
        let gradients = linear_attention::Gradients { q: d_q, k: d_k, v: dv, ..Default::default() };
        Ok(Results { out, gradients: Some(gradients), bytes })
    }

    /// `[N, H, K]` to `[N, H, K']`, for segments laid end to end.
    fn encode(&self, encoder: &dyn Encoder<R>, side: Side, segments: &[Segment], x: &[R]) -> Vec<R> {
        let (heads, k, encoded) = (self.attention.heads, self.encoding.key_dim(), self.encoded_dim());
        let mut out = vec![R::ZERO; x.len() / k * encoded];
        for segment in segments {
            let x = &x[segment.start * heads * k..][..segment.len * heads * k];
            let out = &mut out[segment.start * heads * encoded..][..segment.len * heads * encoded];
            let blocks = out.par_chunks_mut(BLOCK * heads * encoded).zip(x.par_chunks(BLOCK * heads * k));
            blocks.enumerate().for_each(|(block, (out, x))| {
                let position = segment.offset + (block * BLOCK) as i64;
                for head in 0..heads {
                    let rows = gather(x, heads, k, head);
                    let mut result = vec![R::ZERO; rows.len() / k * encoded];
                    encoder.encode(side, head, position, &rows, &mut result);
                    scatter(out, heads, encoded, head, &result);
                }
            });
        }
        out
    }

    /// The gradient of `x`; that of the parameters is computed and dropped.
    fn encode_vjp(
        &self,
        encoder: &dyn Encoder<R>,
        side: Side,
        segments: &[Segment],
        x: &[R],
        d: &[R],
    ) -> Vec<R> {
        let (heads, k, encoded) = (self.attention.heads, self.encoding.key_dim(), self.encoded_dim());
        let parameters = self.encoding.parameters().iter().map(|parameter| parameter.len()).sum();
        let mut d_x = vec![R::ZERO; x.len()];
        for segment in segments {
            let x = &x[segment.start * heads * k..][..segment.len * heads * k];
            let d = &d[segment.start * heads * encoded..][..segment.len * heads * encoded];
            let d_x = &mut d_x[segment.start * heads * k..][..segment.len * heads * k];
            let blocks = d_x.par_chunks_mut(BLOCK * heads * k).zip(x.par_chunks(BLOCK * heads * k));
            blocks.zip(d.par_chunks(BLOCK * heads * encoded)).enumerate().for_each(
                |(block, ((d_x, x), d))| {
                    let position = segment.offset + (block * BLOCK) as i64;
                    let mut d_params = vec![0.0; parameters];
                    for head in 0..heads {
                        let (rows, d) = (gather(x, heads, k, head), gather(d, heads, encoded, head));
                        let (mut result, mut out) = (vec![R::ZERO; rows.len()], vec![R::ZERO; d.len()]);
                        encoder.encode(side, head, position, &rows, &mut out);
                        encoder.vjp(side, head, position, &rows, &out, &d, &mut result, &mut d_params);
                        scatter(d_x, heads, k, head, &result);
                    }
                },
            );
        }
        d_x
    }
}

impl EncodedSoftmax<f64> {
    /// One row `[H, V]` of the output by the definition.
    pub fn naive_row(&self, params: &[f64], s: usize, x: &Tensors<f64>) -> Result<Vec<f64>, BenchError> {
        let encoder = self.encoding.bind(params);
        let keys = self.attention.heads * self.encoding.key_dim();
        let seen = [Segment { start: 0, len: s + 1, offset: 0 }];
        let query = [Segment { start: 0, len: 1, offset: s as i64 }];
        let k = self.encode(&*encoder, Side::Key, &seen, &x.k[..(s + 1) * keys]);
        let q = self.encode(&*encoder, Side::Query, &query, &x.q[s * keys..][..keys]);
        let v = &x.v[..(s + 1) * self.attention.heads * self.attention.value_dim];
        let mask = Mask::Full { queries: &query, keys: &seen };
        Ok(naive::forward(&self.attention, Inputs { q: &q, k: &k, v, params: &[] }, mask)?)
    }
}

/// The rows of one head of `[n, H, width]`.
fn gather<R: FastMath>(x: &[R], heads: usize, width: usize, head: usize) -> Vec<R> {
    x.chunks(heads * width).flat_map(|row| &row[head * width..][..width]).copied().collect()
}

fn scatter<R: FastMath>(x: &mut [R], heads: usize, width: usize, head: usize, rows: &[R]) {
    for (row, from) in x.chunks_mut(heads * width).zip(rows.chunks(width)) {
        row[head * width..][..width].copy_from_slice(from);
    }
}
