//! Pieces as tokens: windows to train on, whole or cut to score.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use relin_kernels::rng::Rng;
use relin_kernels::segments::Segment;

use super::{BEGIN, Vocabulary};
use crate::data::Batch;
use crate::ops::IGNORE;
use crate::recipe::MusicConfig;

/// Pieces of music as tokens, one after another; cloning shares those that are in a file.
#[derive(Clone, Debug)]
pub struct Pieces {
    tokens: Tokens,
    pieces: Vec<Piece>,
    /// Of all pieces up to each one, so that pieces can be drawn by their length.
    ends: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Tokens {
    Held(Arc<[u16]>),
    /// Two bytes a token, little-endian.
    Mapped(Arc<Mmap>),
}

/// Where a piece lies, and how far each part reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    range: Range<usize>,
    extents: Vec<Option<(u8, u8)>>,
}

/// A stretch of a piece: what is read, and what follows each token of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stretch {
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

/// The stream of random numbers that is kept for training windows.
const STREAM: u64 = u64::from_le_bytes(*b"music-tr");
/// Draws of one row: whole rows never need as many pieces.
const DRAWS: u64 = 1 << 20;
/// A window may begin so late that so many of its tokens, or one in so many, lie beyond its piece: thus ends are learned too,
/// wherever windows may begin.
const BEYOND: usize = 16;
/// What is left of a row when a piece ends, and shorter than this, stays empty.
const SHORTEST: usize = 16;

impl Pieces {
    /// Pieces in memory.
    pub(super) fn held(all: &[Vec<u16>], vocabulary: &Vocabulary) -> Self {
        let mut end = 0;
        let ranges = all.iter().map(|piece| {
            end += piece.len();
            end - piece.len()..end
        });
        let ranges: Vec<_> = ranges.collect();
        Self::new(Tokens::Held(all.concat().into()), ranges, vocabulary)
    }

    /// Pieces at those places of a mapped file.
    pub(super) fn mapped(map: Arc<Mmap>, ranges: Vec<Range<usize>>, vocabulary: &Vocabulary) -> Self {
        Self::new(Tokens::Mapped(map), ranges, vocabulary)
    }

    fn new(tokens: Tokens, ranges: Vec<Range<usize>>, vocabulary: &Vocabulary) -> Self {
        let extents = |range: &Range<usize>| {
            let mut extents = vec![None; vocabulary.parts().len()];
            for (part, pitch) in read(&tokens, range.clone()).filter_map(|token| vocabulary.pitch_of(token)) {
                widen(&mut extents[part], (pitch, pitch));
            }
            extents
        };
        let pieces: Vec<Piece> =
            ranges.into_iter().map(|range| Piece { extents: extents(&range), range }).collect();
        let ends = ends(&pieces);
        Self { tokens, pieces, ends }
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Tokens of all pieces.
    pub fn count(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The tokens of a piece.
    pub fn tokens(&self, piece: usize) -> Vec<u32> {
        read(&self.tokens, self.pieces[piece].range.clone()).collect()
    }

    /// Those at `indices`.
    pub fn select(&self, indices: &[usize]) -> Self {
        let pieces: Vec<Piece> = indices.iter().map(|&at| self.pieces[at].clone()).collect();
        Self { tokens: self.tokens.clone(), ends: ends(&pieces), pieces }
    }

    /// All pieces one after another as one.
    pub fn concatenated(&self, vocabulary: &Vocabulary) -> Self {
        let all: Vec<u16> =
            (0..self.len()).flat_map(|piece| self.tokens(piece)).map(|token| token as u16).collect();
        Self::held(&[all], vocabulary)
    }

    /// How far each part reaches in any of the pieces.
    pub fn extents(&self, parts: usize) -> Vec<Option<(u8, u8)>> {
        let mut all = vec![None; parts];
        for (whole, part) in self.pieces.iter().flat_map(|piece| all_with(&piece.extents)) {
            widen(&mut all[whole], part);
        }
        all
    }

    /// Training rows of `context` tokens each. A row is a window of a piece drawn at random, longer pieces more often, varied
    /// as `music` says; where the piece ends, another one begins in the same row, which sees nothing of the former. Row `r` is a
    /// pure function of the seed and `first + r`.
    pub fn training_batch(
        &self,
        vocabulary: &Vocabulary,
        music: &MusicConfig,
        (seed, first): (u64, u64),
        [rows, context]: [usize; 2],
    ) -> Batch {
        let mut packer = Packer::default();
        for row in 0..rows {
            let rng = Rng::new(Rng::new(seed, STREAM).word(first + row as u64), STREAM);
            let end = (row + 1) * context;
            for draw in 0..DRAWS {
                let room = end - packer.batch.inputs.len();
                if room < SHORTEST.min(context) {
                    break;
                }
                packer.put(self.window(vocabulary, music, &Rng::new(rng.word(draw), draw), context, room));
            }
            packer.fill(end);
        }
        packer.finish([rows, context])
    }

    /// A window of at most `context` tokens from a random place, cut to `room`.
    fn window(
        &self,
        vocabulary: &Vocabulary,
        music: &MusicConfig,
        rng: &Rng,
        context: usize,
        room: usize,
    ) -> Stretch {
        let place = rng.below(0, self.count() as u64) as usize;
        let piece = self.ends.partition_point(|&end| end <= place);
        let len = self.pieces[piece].range.len();
        let last = len.saturating_sub(context);
        let choices = if last == 0 { 1 } else { (last + BEYOND.max(context / BEYOND)).min(len) };
        let drawn = rng.below(1, choices as u64) as usize;
        let may_begin = |&at: &usize| vocabulary.may_begin(at, self.token(piece, at));
        let from = (0..=drawn).rev().find(may_begin).unwrap_or(0);
        let mut stretch = self.stretch(piece, from..(from + room).min(len));
        let by = self.semitones(piece, vocabulary, music.transpose, rng);
        let factor = 1.0 + music.tempo * (2.0 * rng.uniform(3) - 1.0);
        for token in stretch.inputs.iter_mut().chain(&mut stretch.targets) {
            *token = vocabulary.transpose(*token, by);
            if music.tempo > 0.0 {
                *token = vocabulary.scale_tempo(*token, factor);
            }
        }
        stretch
    }

    /// One of the transpositions that keep every part of the piece in its range.
    fn semitones(&self, piece: usize, vocabulary: &Vocabulary, most: usize, rng: &Rng) -> i32 {
        let fits = |&by: &i32| {
            all_with(&self.pieces[piece].extents).all(|(part, (low, high))| {
                let Some((lowest, highest)) = vocabulary.ranges[part] else { return true };
                vocabulary.is_drums(part)
                    || (i32::from(low) + by >= i32::from(lowest)
                        && i32::from(high) + by <= i32::from(highest))
            })
        };
        let most = most as i32;
        let possible: Vec<i32> = (-most..=most).filter(fits).collect();
        // Of a piece that goes beyond the ranges as it is, none may be possible.
        possible.get(rng.below(2, possible.len().max(1) as u64) as usize).copied().unwrap_or(0)
    }

    fn token(&self, piece: usize, at: usize) -> u32 {
        let at = self.pieces[piece].range.start + at;
        read(&self.tokens, at..at + 1).next().unwrap_or(BEGIN)
    }

    /// The targets of a range of a piece, and the tokens before each of them.
    fn stretch(&self, piece: usize, targets: Range<usize>) -> Stretch {
        let start = self.pieces[piece].range.start;
        let before = match targets.start {
            0 => BEGIN,
            at => self.token(piece, at - 1),
        };
        let targets: Vec<u32> = read(&self.tokens, start + targets.start..start + targets.end).collect();
        let inputs = [&[before], &targets[..targets.len().saturating_sub(1)]].concat();
        Stretch { inputs: inputs[..targets.len()].to_vec(), targets }
    }

    /// All pieces in windows of at most `window` tokens, each of which sees nothing before it but one token; about `budget`
    /// tokens at a time. Every token is a target exactly once.
    pub fn windows(&self, window: usize, budget: usize) -> impl Iterator<Item = Batch> {
        let of_piece = move |piece: usize| {
            let len = self.pieces[piece].range.len();
            (0..len)
                .step_by(window.max(1))
                .map(move |from| (piece, from..len.min(from.saturating_add(window))))
        };
        let mut all = (0..self.len()).flat_map(of_piece).peekable();
        std::iter::from_fn(move || {
            let mut packer = Packer::default();
            while let Some((piece, range)) = all
                .next_if(|(_, range)| packer.is_empty() || packer.batch.inputs.len() + range.len() <= budget)
            {
                packer.put(self.stretch(piece, range));
            }
            let tokens = packer.batch.inputs.len();
            (tokens > 0).then(|| packer.finish([1, tokens]))
        })
    }
}

/// Rows, filled with stretches that see nothing of each other.
#[derive(Default)]
struct Packer {
    batch: Stretch,
    segments: Vec<Segment>,
}

impl Packer {
    fn is_empty(&self) -> bool {
        self.batch.inputs.is_empty()
    }

    fn put(&mut self, stretch: Stretch) {
        let (start, len) = (self.batch.inputs.len(), stretch.inputs.len());
        self.segments.push(Segment { start, len, offset: 0 });
        self.batch.inputs.extend(stretch.inputs);
        self.batch.targets.extend(stretch.targets);
    }

    /// With nothing, up to that length.
    fn fill(&mut self, len: usize) {
        self.batch.inputs.resize(len, BEGIN);
        self.batch.targets.resize(len, IGNORE);
    }

    fn finish(self, [rows, length]: [usize; 2]) -> Batch {
        let Stretch { inputs, targets } = self.batch;
        Batch { inputs, targets, rows, length, segments: Some(self.segments) }
    }
}

fn ends(pieces: &[Piece]) -> Vec<usize> {
    let sum = |total: &mut usize, piece: &Piece| {
        *total += piece.range.len();
        Some(*total)
    };
    pieces.iter().scan(0, sum).collect()
}

/// The parts that sound, with their extents.
fn all_with(extents: &[Option<(u8, u8)>]) -> impl Iterator<Item = (usize, (u8, u8))> {
    extents.iter().enumerate().filter_map(|(part, extent)| Some((part, (*extent)?)))
}

pub(super) fn widen_by(extent: &mut Option<(u8, u8)>, by: Option<(u8, u8)>) {
    if let Some(by) = by {
        widen(extent, by);
    }
}

fn widen(extent: &mut Option<(u8, u8)>, by: (u8, u8)) {
    *extent = Some(extent.map_or(by, |(low, high)| (low.min(by.0), high.max(by.1))));
}

fn read(tokens: &Tokens, range: Range<usize>) -> Box<dyn Iterator<Item = u32> + '_> {
    match tokens {
        Tokens::Held(tokens) => Box::new(tokens[range].iter().map(|&token| token.into())),
        Tokens::Mapped(map) => {
            let (pairs, _) = map[2 * range.start..2 * range.end].as_chunks::<2>();
            Box::new(pairs.iter().map(|&pair| u16::from_le_bytes(pair).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::music::grid;

    /// Pieces of the grid: all voices of piece `p` sing `50 + p`, and piece lengths are those given, in steps.
    fn pieces(lengths: &[usize]) -> (Pieces, Vocabulary) {
        let mut vocabulary = Vocabulary::new(&MusicConfig::default());
        let piece = |(at, &steps): (usize, &usize)| -> Vec<u16> {
            let steps = vec![[Some(50 + at as u8); 4]; steps];
            grid::encode(&steps).into_iter().map(|token| token as u16).collect()
        };
        let all: Vec<Vec<u16>> = lengths.iter().enumerate().map(piece).collect();
        let pieces = Pieces::held(&all, &vocabulary);
        vocabulary.ranges = pieces.extents(4);
        (pieces, vocabulary)
    }

    fn pitches(tokens: &[u32], vocabulary: &Vocabulary) -> Vec<u8> {
        tokens.iter().filter_map(|&token| vocabulary.pitch_of(token)).map(|(_, pitch)| pitch).collect()
    }

    #[test]
    fn segments_never_mix_pieces_and_rows_are_full_or_padded() {
        let (pieces, vocabulary) = pieces(&[6, 40, 11, 12]);
        let music = MusicConfig::default();
        let batch = pieces.training_batch(&vocabulary, &music, (3, 0), [64, 96]);
        assert_eq!((batch.inputs.len(), batch.targets.len()), (64 * 96, 64 * 96));
        let segments = batch.segments.clone().unwrap();
        relin_kernels::segments::validate(&segments, 64 * 96).unwrap();
        assert!(segments.len() > 80, "short pieces share rows: {}", segments.len());
        let mut inside = vec![false; 64 * 96];
        for segment in &segments {
            assert!(segment.len > 0 && segment.start / 96 == (segment.start + segment.len - 1) / 96);
            let (inputs, targets) = (&batch.inputs[segment.tokens()], &batch.targets[segment.tokens()]);
            assert_eq!(inputs[1..], targets[..segment.len - 1]);
            let mut all = pitches(targets, &vocabulary);
            all.extend(pitches(inputs, &vocabulary));
            all.dedup();
            assert_eq!(all.len(), 1, "one piece a segment: {all:?}");
            assert_eq!(vocabulary.pitch_of(targets[0]).unwrap().0, 0, "windows begin with the soprano");
            inside[segment.tokens()].fill(true);
        }
        for (target, inside) in batch.targets.iter().zip(&inside) {
            assert_eq!(*target == IGNORE, !inside);
        }
        assert_eq!(batch, pieces.training_batch(&vocabulary, &music, (3, 0), [64, 96]));
        assert_ne!(batch, pieces.training_batch(&vocabulary, &music, (4, 0), [64, 96]));
        let later = pieces.training_batch(&vocabulary, &music, (3, 60), [4, 96]);
        assert_eq!(later.inputs, batch.inputs[60 * 96..], "rows are numbered through");
    }

    #[test]
    fn every_part_of_a_piece_is_drawn_its_end_included() {
        let (pieces, vocabulary) = pieces(&[103]);
        let (mut seen, mut first) = (vec![0; 65], 0);
        for step in 0..200 {
            let batch = pieces.training_batch(&vocabulary, &MusicConfig::default(), (1, step * 4), [4, 64]);
            for segment in batch.segments.unwrap() {
                let begins = batch.inputs[segment.start] == BEGIN;
                first += usize::from(begins);
                assert!(segment.len <= 64);
            }
        }
        for draw in 0..4000 {
            let rng = Rng::new(draw, 5);
            let len = pieces.window(&vocabulary, &MusicConfig::default(), &rng, 64, 64).targets.len();
            seen[len] += 1;
        }
        assert!(first > 10, "{first} windows from the beginning");
        // The last of the 23 places where a window may begin is 60 tokens before the end, and 12 of 364 draws take it.
        assert!(seen[60] > 60 && seen[64] == 4000 - seen[60], "{seen:?}");
    }

    #[test]
    fn windows_have_every_token_once_and_respect_pieces() {
        let (pieces, vocabulary) = pieces(&[6, 40, 11]);
        let all: Vec<u32> = (0..3).flat_map(|piece| pieces.tokens(piece)).collect();
        for (window, budget) in [(usize::MAX, 10), (usize::MAX, 1000), (16, 50), (7, 7), (1, 3)] {
            let batches: Vec<Batch> = pieces.windows(window, budget).collect();
            let targets: Vec<u32> = batches.iter().flat_map(|batch| batch.targets.clone()).collect();
            assert_eq!(targets, all, "window {window}");
            let begins = batches.iter().flat_map(|batch| &batch.inputs).filter(|&&t| t == BEGIN).count();
            assert_eq!(begins, 3, "window {window}");
            for batch in &batches {
                let segments = batch.segments.as_ref().unwrap();
                assert!(segments.iter().all(|segment| segment.len <= window && segment.offset == 0));
                assert_eq!(segments.iter().map(|segment| segment.len).sum::<usize>(), batch.inputs.len());
                assert!(batch.length <= budget || segments.len() == 1);
            }
        }
        let one = pieces.concatenated(&vocabulary);
        assert_eq!((one.len(), one.count(), one.tokens(0)), (1, all.len(), all));
    }

    #[test]
    fn transposition_stays_within_the_ranges_of_the_voices() {
        let (pieces, vocabulary) = pieces(&[20, 20, 20, 20]);
        let music = MusicConfig { transpose: 6, ..MusicConfig::default() };
        let mut seen = std::collections::BTreeSet::new();
        let batch = pieces.training_batch(&vocabulary, &music, (0, 0), [200, 32]);
        for segment in batch.segments.unwrap() {
            let mut all = pitches(&batch.targets[segment.tokens()], &vocabulary);
            all.dedup();
            assert_eq!(all.len(), 1, "a segment is moved as a whole");
            seen.extend(all);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [50, 51, 52, 53]);
    }
}
