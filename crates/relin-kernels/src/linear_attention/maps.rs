//! The maps of an encoding for a block of positions, made at once where single rows are dear to encode.

use rayon::prelude::*;

use super::LinearAttention;
use crate::encoding::{Encoder, Side};
use crate::fast_math::FastMath;
use crate::matmul::Into;
use crate::tiles::weighted_rows;

/// Positions whose maps are made at once, those of a multiple of it and after.
const MAPPED: usize = 32;

/// The encoding's maps for the positions around the next one.
#[derive(Debug)]
pub(super) struct Maps<R> {
    /// The first of the positions; none before the first token.
    first: Option<i64>,
    /// For queries and keys, `[H, 32, K, K']`.
    sides: [Vec<R>; 2],
    key_dim: usize,
}

impl<R: FastMath> Maps<R> {
    /// If the encoding is such.
    pub fn new(attention: &LinearAttention<R>) -> Option<Self> {
        let encoding = &attention.encoding;
        if encoding.halo() == 0 {
            return None;
        }
        let room = || vec![R::ZERO; attention.heads * MAPPED * encoding.key_dim() * encoding.encoded_dim()];
        Some(Self { first: None, sides: [room(), room()], key_dim: encoding.key_dim() })
    }

    /// As [`Encoder::encode_token`].
    pub fn encode_token(
        &mut self,
        encoder: &dyn Encoder<R>,
        heads: usize,
        position: i64,
        x: [&[R]; 2],
        out: [&mut [R]; 2],
    ) {
        let within = position.rem_euclid(MAPPED as i64);
        let first = position - within;
        let (key_dim, width) = (self.key_dim, out[0].len() / heads);
        let size = self.sides[0].len() / heads;
        if self.first != Some(first) {
            for (side, maps) in [Side::Query, Side::Key].into_iter().zip(&mut self.sides) {
                maps.par_chunks_mut(size)
                    .enumerate()
                    .for_each(|(head, maps)| encoder.maps(side, head, first, MAPPED, key_dim, maps));
            }
            self.first = Some(first);
        }
        for ((x, out), maps) in x.iter().zip(out).zip(&self.sides) {
            let rows = x.chunks(key_dim).zip(out.chunks_mut(width)).zip(maps.chunks(size));
            for ((x, out), maps) in rows {
                let map = &maps[within as usize * key_dim * width..];
                weighted_rows(x, map, width, out, Into::Overwrite);
            }
        }
    }
}
