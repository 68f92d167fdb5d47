//! Sources and targets as tokens, and batches of them.

use crate::ops::IGNORE;

/// The tokens above a tokenizer's own that an encoder-decoder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Stands before a target, where its first token is asked for.
    pub begin: u32,
    /// Ends a source and a target.
    pub end: u32,
}

impl Marks {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// Those of a tokenizer of so many tokens.
    pub fn above(vocabulary: usize) -> Self {
        let begin = vocabulary as u32;
        Self { begin, end: begin + 1 }
    }
}

/// Sequences of different lengths as rows of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// `[B, T]`; what comes after a row's own tokens is never attended to.
    pub ids: Vec<u32>,
    /// Tokens of each row.
    pub lengths: Vec<usize>,
    /// T, the longest.
    pub length: usize,
}

impl Padded {
    /// Rows filled up with `padding` to the longest.
    pub fn new<S: AsRef<[u32]>>(rows: &[S], padding: u32) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.as_ref().len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let fill = |row: &S| {
            row.as_ref().iter().copied().chain(std::iter::repeat(padding)).take(length).collect::<Vec<_>>()
        };
        Self { ids: rows.iter().flat_map(fill).collect(), lengths, length }
    }
}

/// Sources and the targets that are to be written from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParallelBatch {
    /// Each with its end.
    pub sources: Padded,
    /// Targets behind the mark that begins them.
    pub inputs: Padded,
    /// What follows each of the inputs, `[B, T]`: targets with their ends, then [`IGNORE`].
    pub targets: Vec<u32>,
}

/// Pairs of texts as tokens, without marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParallelTokens {
    pairs: Vec<[Vec<u32>; 2]>,
    marks: Marks,
}

impl ParallelTokens {
    /// Pairs of sources and targets.
    pub fn new(pairs: Vec<[Vec<u32>; 2]>, marks: Marks) -> Self {
        Self { pairs, marks }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Targets to predict, ends included.
    pub fn targets(&self) -> usize {
        self.pairs.iter().map(|[_, target]| target.len() + 1).sum()
    }

    /// A source with its end.
    pub fn source(&self, index: usize) -> Vec<u32> {
        self.ended(&self.pairs[index][0])
    }

    /// Those at `indices`.
    pub fn batch(&self, indices: &[usize]) -> ParallelBatch {
        let Marks { begin, .. } = self.marks;
        let rows = |of: &dyn Fn(usize) -> Vec<u32>| indices.iter().map(|&at| of(at)).collect::<Vec<_>>();
        let input = |at: usize| [&[begin], &*self.pairs[at][1]].concat();
        ParallelBatch {
            sources: Padded::new(&rows(&|at| self.source(at)), 0),
            inputs: Padded::new(&rows(&input), 0),
            targets: Padded::new(&rows(&|at| self.ended(&self.pairs[at][1])), IGNORE).ids,
        }
    }

    fn ended(&self, tokens: &[u32]) -> Vec<u32> {
        [tokens, &[self.marks.end]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_padded_on_either_side_and_its_padding_is_no_target() {
        let pairs = vec![[vec![1, 2, 3], vec![4]], [vec![5], vec![6, 7]], [vec![9], vec![9]]];
        let tokens = ParallelTokens::new(pairs, Marks::above(10));
        let batch = tokens.batch(&[1, 0]);
        let sources = Padded { ids: vec![5, 11, 0, 0, 1, 2, 3, 11], lengths: vec![2, 4], length: 4 };
        let inputs = Padded { ids: vec![10, 6, 7, 10, 4, 0], lengths: vec![3, 2], length: 3 };
        assert_eq!(batch, ParallelBatch { sources, inputs, targets: vec![6, 7, 11, 4, 11, IGNORE] });
        assert_eq!((tokens.len(), tokens.targets(), tokens.source(1)), (3, 7, vec![5, 11]));
    }
}
