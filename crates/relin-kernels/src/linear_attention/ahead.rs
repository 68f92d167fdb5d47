//! Encodings whose cost is not by the row: queries and keys are encoded before the attention, in blocks.
//!
//! A filter of P taps needs the noise of P − 1 positions besides its own, whether it encodes a chunk of 64 tokens or a
//! block of 1024; and what it makes of the noise, as what sines make of it, is the same for all sequences of a batch at the
//! same positions. So where [`Encoding::halo`] is not 0, or sequences [share positions](Encoding::shares_positions),
//! `[N, H, K']` tensors of encoded queries and keys do exist, and the attention takes them as they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Gradients, Inputs, LinearAttention};
use crate::columns::Columns;
use crate::encoding::{Absent, Decay, Encoder, Encoding, Side, Stage};
use crate::fast_math::FastMath;
use crate::feature_map::FeatureMap;
use crate::parallel;
use crate::real::Real;
use crate::segments::{Mask, Segment};

/// Positions whose rows are encoded at once if there is a halo to pay, and if not: these rows fit the second-level cache.
const BLOCK_WITH_HALO: usize = 1024;
const BLOCK: usize = 64;
/// Sequences that are encoded together at most: more would save little and leave few tasks to threads.
const TOGETHER: usize = 16;

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
        let several = mask.queries().len().max(mask.keys().len()) > 1;
        let dear = encoding.halo() > 0 || encoding.shares_positions() && several;
        if !dear || attention.stage != Stage::BeforeFeatureMap {
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
            let of_tasks = vjp(attention, &*self.encoder, side, segments, [x, encoded, d_encoded], &mut d_x);
            for of_task in of_tasks {
                params.iter_mut().zip(of_task).for_each(|(sum, d)| *sum += d);
            }
            d_x
        };
        let q = back(Side::Query, mask.queries(), inputs.q, &self.q, &d.q);
        let k = back(Side::Key, mask.keys(), inputs.k, &self.k, &d.k);
        let params = params.into_iter().map(R::from_f64).collect();
        Gradients { q, k, params, ..d }
    }
}

/// Blocks of sequences that begin at the same position.
struct Group {
    position: i64,
    /// Rows of the longest; to the others zeros are added.
    len: usize,
    /// In the order of the rows.
    blocks: Vec<Range<usize>>,
}

impl Group {
    /// Segments in blocks, of which those at the same position are one group, or several of similar lengths: of the same if
    /// there is a halo, since what a filter makes of a row is rounded by the number of rows.
    fn all(segments: &[Segment], halo: usize) -> Vec<Self> {
        let most = if halo > 0 { BLOCK_WITH_HALO } else { BLOCK };
        let mut at: BTreeMap<(i64, usize), Vec<Range<usize>>> = BTreeMap::new();
        for segment in segments {
            for from in (0..segment.len).step_by(most) {
                let (start, len) = (segment.start + from, most.min(segment.len - from));
                let position = segment.offset + from as i64;
                let place = (position, if halo > 0 { len } else { 0 });
                at.entry(place).or_default().push(start..start + len);
            }
        }
        let groups = at.iter_mut().flat_map(|(&(position, _), blocks)| {
            blocks.sort_by_key(|block| Reverse(block.len()));
            blocks.chunks_mut(TOGETHER).map(move |blocks| {
                let len = blocks[0].len();
                blocks.sort_unstable_by_key(|block| block.start);
                Self { position, len, blocks: blocks.to_vec() }
            })
        });
        groups.collect()
    }

    /// Copies one head's rows of a `[N, H, width]` tensor, `[sequences, len, width]`.
    fn gather<R: FastMath>(&self, tensor: &[R], heads: usize, head: usize, width: usize, rows: &mut Vec<R>) {
        rows.resize(self.blocks.len() * self.len * width, R::ZERO);
        for (block, rows) in self.blocks.iter().zip(rows.chunks_mut(self.len * width)) {
            let (rows, rest) = rows.split_at_mut(block.len() * width);
            let tensor = &tensor[(block.start * heads + head) * width..];
            FeatureMap::Identity.apply_strided(width, tensor, heads * width, rows);
            rest.fill(R::ZERO);
        }
    }

    /// Copies `[sequences, len, width]` to the places of the group's rows.
    fn scatter<R: Copy>(&self, rows: &[R], width: usize, places: &mut [Columns<'_, R>]) {
        for ((block, place), rows) in self.blocks.iter().zip(places).zip(rows.chunks(self.len * width)) {
            let rows = rows.chunks(width).take(block.len());
            rows.enumerate().for_each(|(i, row)| place.row(i).copy_from_slice(row));
        }
    }
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
    let groups = Group::all(segments, attention.encoding.halo());
    let mut out = vec![R::ZERO; x.len() / k * width];
    let places = places(&groups, Columns::split(&mut out, heads, width));
    parallel::for_each(
        places.into_iter().enumerate().collect(),
        || [Vec::new(), Vec::new()],
        |[x_rows, rows], (task, mut places)| {
            let (group, head) = (&groups[task / heads], task % heads);
            group.gather(x, heads, head, k, x_rows);
            rows.resize(group.blocks.len() * group.len * width, R::ZERO);
            encoder.encode_sequences(side, head, group.position, group.blocks.len(), x_rows, rows);
            group.scatter(rows, width, &mut places);
        },
    );
    out
}

/// Each group's rows in each head's columns, in the order of its sequences.
fn places<'a, R>(groups: &[Group], mut heads: Vec<Columns<'a, R>>) -> Vec<Vec<Columns<'a, R>>> {
    let blocks =
        groups.iter().enumerate().flat_map(|(at, group)| group.blocks.iter().map(move |block| (block, at)));
    let mut blocks: Vec<(&Range<usize>, usize)> = blocks.collect();
    blocks.sort_unstable_by_key(|(block, _)| block.start);
    let mut places: Vec<Vec<Columns<'a, R>>> = (0..groups.len() * heads.len()).map(|_| Vec::new()).collect();
    let mut done = 0;
    for (block, at) in blocks {
        let of_heads = places.chunks_mut(heads.len()).nth(at).into_iter().flatten();
        for (head, places) in heads.iter_mut().zip(of_heads) {
            head.take(block.start - done);
            places.push(head.take(block.len()));
        }
        done = block.end;
    }
    places
}

/// Writes the gradients of rows inside the segments to `d_x`; returns those of the parameters, task by task: a head, or some
/// of its groups where heads are fewer than threads.
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
    let groups = Group::all(segments, attention.encoding.halo());
    let parts = parallel::parts(heads);
    let mut d_params = vec![vec![0.0; parameters]; heads * parts];
    let mut places_of: Vec<Vec<_>> = (0..heads * parts).map(|_| Vec::new()).collect();
    for (at, places) in places(&groups, Columns::split(d_x, heads, k)).into_iter().enumerate() {
        let (group, head) = (at / heads, at % heads);
        places_of[head * parts + group % parts].push((&groups[group], places));
    }
    parallel::for_each(
        places_of.into_iter().zip(&mut d_params).enumerate().collect(),
        Default::default,
        |rows: &mut [Vec<R>; 4], (task, (groups, d_params))| {
            let [x_rows, encoded_rows, d, d_rows] = rows;
            let head = task / parts;
            for (group, mut places) in groups {
                group.gather(x, heads, head, k, x_rows);
                group.gather(encoded, heads, head, width, encoded_rows);
                group.gather(d_encoded, heads, head, width, d);
                d_rows.resize(x_rows.len(), R::ZERO);
                let (position, sequences) = (group.position, group.blocks.len());
                encoder.vjp_sequences(
                    side,
                    head,
                    position,
                    sequences,
                    x_rows,
                    encoded_rows,
                    d,
                    d_rows,
                    d_params,
                );
                group.scatter(d_rows, k, &mut places);
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
