//! Encodings whose cost is not by the row: queries and keys are encoded before the attention, in long blocks.
//!
//! A filter of P taps needs the noise of P − 1 positions besides its own, whether it encodes a chunk of 64 tokens or a
//! block of 1024. So where [`Encoding::halo`] is not 0, `[N, H, K']` tensors of encoded queries and keys do exist, and
//! the attention takes them as they are.

use std::sync::Arc;

use super::{Gradients, Inputs, LinearAttention};
use crate::columns::Columns;
use crate::encoding::{Absent, Decay, Encoder, Encoding, Side, Stage};
use crate::fast_math::FastMath;
use crate::feature_map::FeatureMap;
use crate::parallel;
use crate::real::Real;
use crate::segments::{Mask, Segment};

/// Rows that are encoded at once.
const BLOCK: usize = 1024;

/// Encoded queries and keys, and the attention that takes them.
pub(super) struct EncodedAhead<R: FastMath> {
    pub attention: LinearAttention<R>,
    encoder: Box<dyn Encoder<R>>,
    q: Vec<R>,
    k: Vec<R>,
}

impl<R: FastMath> EncodedAhead<R> {
    /// If the encoding is such, and acts before φ: after it, the normaliser needs the features in between.
    pub fn new(attention: &LinearAttention<R>, mask: Mask<'_>, inputs: Inputs<'_, R>) -> Option<Self> {
        let encoding = &attention.encoding;
        if encoding.halo() == 0 || attention.stage != Stage::BeforeFeatureMap {
            return None;
        }
        let encoder = encoding.bind(inputs.params);
        let encode = |side, segments, x| encode(attention, &*encoder, side, segments, x);
        let q = encode(Side::Query, mask.queries(), inputs.q);
        let k = encode(Side::Key, mask.keys(), inputs.k);
        let attention = LinearAttention { encoding: Arc::new(Done(encoding.clone())), ..attention.clone() };
        Some(Self { attention, encoder, q, k })
    }

    /// What goes into [`attention`](Self::attention).
    pub fn inputs<'a>(&'a self, given: Inputs<'a, R>) -> Inputs<'a, R> {
        Inputs { q: &self.q, k: &self.k, params: &[], ..given }
    }

    /// Takes gradients of the encoded rows back to the rows as given and to the parameters.
    pub fn vjp(
        &self,
        attention: &LinearAttention<R>,
        mask: Mask<'_>,
        inputs: Inputs<'_, R>,
        d: Gradients<R>,
    ) -> Gradients<R> {
        let mut params = vec![0.0; inputs.params.len()];
        let mut back = |side, segments, x: &[R], encoded: &[R], d_encoded: &[R]| {
            let mut d_x = vec![R::ZERO; x.len()];
            let of_heads = vjp(attention, &*self.encoder, side, segments, [x, encoded, d_encoded], &mut d_x);
            for of_head in of_heads {
                params.iter_mut().zip(of_head).for_each(|(sum, d)| *sum += d);
            }
            d_x
        };
        let q = back(Side::Query, mask.queries(), inputs.q, &self.q, &d.q);
        let k = back(Side::Key, mask.keys(), inputs.k, &self.k, &d.k);
        let params = params.into_iter().map(R::from_f64).collect();
        Gradients { q, k, params, ..d }
    }
}

/// One head's rows of a block, in `[N, H, width]`.
fn gather<R: FastMath>(tensor: &[R], heads: usize, head: usize, width: usize, block: Segment) -> Vec<R> {
    let mut rows = vec![R::ZERO; block.len * width];
    let tensor = &tensor[(block.start * heads + head) * width..];
    FeatureMap::Identity.apply_strided(width, tensor, heads * width, &mut rows);
    rows
}

/// Segments in blocks, in order.
fn blocks(segments: &[Segment]) -> Vec<Segment> {
    let of_segment = |segment: &Segment| {
        let segment = *segment;
        (0..segment.len).step_by(BLOCK).map(move |from| Segment {
            start: segment.start + from,
            len: BLOCK.min(segment.len - from),
            offset: segment.offset + from as i64,
        })
    };
    segments.iter().flat_map(of_segment).collect()
}

/// `[N, H, K']`; 0 outside the segments.
fn encode<R: FastMath>(
    attention: &LinearAttention<R>,
    encoder: &dyn Encoder<R>,
    side: Side,
    segments: &[Segment],
    x: &[R],
) -> Vec<R> {
    let (heads, k, width) = (attention.heads, attention.encoding.key_dim(), attention.encoding.encoded_dim());
    let mut out = vec![R::ZERO; x.len() / k * width];
    let mut rest = Columns::split(&mut out, heads, width);
    let (mut tasks, mut done) = (Vec::new(), 0);
    for block in blocks(segments) {
        for (head, rest) in rest.iter_mut().enumerate() {
            rest.take(block.start - done);
            tasks.push((block, head, rest.take(block.len)));
        }
        done = block.start + block.len;
    }
    parallel::for_each(
        tasks,
        || vec![R::ZERO; BLOCK * width],
        |rows, (block, head, mut out)| {
            let rows = &mut rows[..block.len * width];
            encoder.encode(side, head, block.offset, &gather(x, heads, head, k, block), rows);
            rows.chunks(width).enumerate().for_each(|(i, row)| out.row(i).copy_from_slice(row));
        },
    );
    out
}

/// Writes the gradients of rows inside the segments to `d_x`; returns those of the parameters for each head, whose own
/// they mostly are.
fn vjp<R: FastMath>(
    attention: &LinearAttention<R>,
    encoder: &dyn Encoder<R>,
    side: Side,
    segments: &[Segment],
    [x, encoded, d_encoded]: [&[R]; 3],
    d_x: &mut [R],
) -> Vec<Vec<f64>> {
    let (heads, k, width) = (attention.heads, attention.encoding.key_dim(), attention.encoding.encoded_dim());
    let parameters = attention.encoding.parameters().iter().map(|parameter| parameter.len()).sum();
    let mut d_params = vec![vec![0.0; parameters]; heads];
    let tasks = Columns::split(d_x, heads, k).into_iter().zip(&mut d_params).enumerate();
    let blocks = blocks(segments);
    parallel::for_each(
        tasks.collect(),
        || vec![R::ZERO; BLOCK * k],
        |rows, (head, (mut d_x, d_params))| {
            for &block in &blocks {
                let rows = &mut rows[..block.len * k];
                let [x, encoded, d] = [(x, k), (encoded, width), (d_encoded, width)]
                    .map(|(tensor, width)| gather(tensor, heads, head, width, block));
                encoder.vjp(side, head, block.offset, &x, &encoded, &d, rows, d_params);
                rows.chunks(k).enumerate().for_each(|(i, row)| d_x.row(block.start + i).copy_from_slice(row));
            }
        },
    );
    d_params
}

/// What is left of an encoding when its maps have been applied: its decay.
#[derive(Debug)]
struct Done<R: Real>(Arc<dyn Encoding<R>>);

impl<R: Real> Encoding<R> for Done<R> {
    fn key_dim(&self) -> usize {
        self.0.encoded_dim()
    }

    fn encoded_dim(&self) -> usize {
        self.0.encoded_dim()
    }

    fn bind(&self, params: &[R]) -> Box<dyn Encoder<R>> {
        Absent::new(self.0.encoded_dim()).bind(params)
    }

    fn kernel(&self, params: &[R], head: usize, lag: i64) -> Vec<f64> {
        Encoding::<R>::kernel(&Absent::new(self.0.encoded_dim()), params, head, lag)
    }

    fn decay(&self, head: usize) -> Decay {
        self.0.decay(head)
    }
}
