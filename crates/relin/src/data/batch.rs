//! Windows of tokens: random ones to train on, consecutive ones to evaluate on.

use relin_kernels::rng::Rng;
use relin_kernels::segments::Segment;

use super::{DataError, TokenStore};

/// Windows of one length; the targets are the inputs one token later. Both are `[rows, length]`, row by row.
///
/// A row is one sequence from position 0, unless `segments` say which sequences there are among all tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens to read.
    pub inputs: Vec<u32>,
    /// Tokens to predict.
    pub targets: Vec<u32>,
    /// How many windows.
    pub rows: usize,
    /// Tokens a window.
    pub length: usize,
    /// Sequences that see nothing of each other, each from the position that it says; what lies outside of them counts for
    /// nothing, and its targets are to be [`IGNORE`](crate::ops::IGNORE). Only causal models of tokens heed them.
    pub segments: Option<Vec<Segment>>,
}

/// The stream of random numbers that is kept for the windows' starts.
const STREAM: u64 = u64::from_le_bytes(*b"windows\0");
/// Rows of one step that have random numbers of their own.
const ROWS_PER_STEP: u64 = 1 << 24;

impl TokenStore {
    /// `batch_size` random windows. Row `r` starts at a pure function of `(seed, step, micro_step·batch_size + r)`:
    /// a resumed run sees the same batches, and a step sees the same rows however many micro-steps it is cut into.
    ///
    /// # Shapes
    /// `[batch_size, context]`.
    ///
    /// # Errors
    /// There are fewer than `context + 1` tokens; `context` or `batch_size` is zero.
    pub fn training_batch(
        &self,
        seed: u64,
        step: u64,
        micro_step: usize,
        batch_size: usize,
        context: usize,
    ) -> Result<Batch, DataError> {
        self.check_context(context)?;
        check_rows(batch_size)?;
        let starts = (self.len() - context) as u64;
        let rng = Rng::new(seed, STREAM);
        let start = |row: usize| {
            let row = (micro_step * batch_size + row) as u64;
            rng.below(step.wrapping_mul(ROWS_PER_STEP).wrapping_add(row), starts) as usize
        };
        Ok(self.windows((0..batch_size).map(start), context))
    }

    /// Consecutive windows that do not overlap, `batch_size` at a time. Every token but the first is a target
    /// exactly once: the last batch of whole windows may have fewer rows, and what remains after it, shorter than
    /// `context`, comes as a batch of one shorter row.
    ///
    /// # Shapes
    /// `[≤ batch_size, context]`, at the end `[1, < context]`.
    ///
    /// # Errors
    /// There are fewer than `context + 1` tokens; `context` or `batch_size` is zero.
    pub fn evaluation_windows(
        &self,
        context: usize,
        batch_size: usize,
    ) -> Result<EvaluationWindows<'_>, DataError> {
        self.check_context(context)?;
        check_rows(batch_size)?;
        Ok(EvaluationWindows { store: self, context, batch_size, at: 0 })
    }

    fn windows(&self, starts: impl ExactSizeIterator<Item = usize>, length: usize) -> Batch {
        let rows = starts.len();
        let (mut inputs, mut targets) =
            (Vec::with_capacity(rows * length), Vec::with_capacity(rows * length));
        let mut window = vec![0; length + 1];
        for start in starts {
            self.read(start..start + length + 1, &mut window);
            inputs.extend_from_slice(&window[..length]);
            targets.extend_from_slice(&window[1..]);
        }
        Batch { inputs, targets, rows, length, segments: None }
    }
}

fn check_rows(batch_size: usize) -> Result<(), DataError> {
    if batch_size == 0 { Err(DataError::Zero { name: "batch_size" }) } else { Ok(()) }
}

/// See [`TokenStore::evaluation_windows`].
#[derive(Clone, Debug)]
pub struct EvaluationWindows<'a> {
    store: &'a TokenStore,
    context: usize,
    batch_size: usize,
    at: usize,
}

impl EvaluationWindows<'_> {
    /// How many targets there are still to come.
    pub fn targets(&self) -> usize {
        self.store.len() - 1 - self.at
    }
}

impl Iterator for EvaluationWindows<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let (rows, length) = match self.targets() {
            0 => return None,
            left if left < self.context => (1, left),
            left => ((left / self.context).min(self.batch_size), self.context),
        };
        let first = self.at;
        self.at += rows * length;
        Some(self.store.windows((0..rows).map(|row| first + row * length), length))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let whole = (self.targets() / self.context).div_ceil(self.batch_size);
        let batches = whole + usize::from(!self.targets().is_multiple_of(self.context));
        (batches, Some(batches))
    }
}

impl ExactSizeIterator for EvaluationWindows<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TextSource;
    use crate::tokenizer::Tokenizer;
    use std::path::Path;

    const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

    fn store(text: &'static str) -> TokenStore {
        let source = TextSource::carried("t", text);
        TokenStore::open(&source, &Tokenizer::byte(), Path::new("unused"), "training").unwrap()
    }

    #[test]
    fn training_batches_depend_on_seed_step_and_row_alone() {
        let store = store(TEXT);
        let batch = |seed, step, micro, size| store.training_batch(seed, step, micro, size, 5).unwrap();
        let first = batch(1, 7, 0, 8);
        assert_eq!(first, batch(1, 7, 0, 8));
        assert_ne!(first.inputs, batch(1, 8, 0, 8).inputs);
        assert_ne!(first.inputs, batch(2, 7, 0, 8).inputs);
        let halves = [batch(1, 7, 0, 4).inputs, batch(1, 7, 1, 4).inputs].concat();
        assert_eq!(first.inputs, halves);
        assert_eq!((first.rows, first.length, first.inputs.len()), (8, 5, 40));
        for (row, targets) in first.inputs.chunks(5).zip(first.targets.chunks(5)) {
            assert_eq!(row[1..], targets[..4]);
            let text: String = row.iter().chain(targets.last()).map(|&b| char::from(b as u8)).collect();
            assert!(TEXT.contains(&text), "{text}");
        }
    }

    #[test]
    fn every_start_is_drawn_the_last_included() {
        let store = store("abcdef");
        let batch = store.training_batch(0, 0, 0, 256, 3).unwrap();
        let starts: std::collections::BTreeSet<u32> = batch.inputs.chunks(3).map(|row| row[0]).collect();
        assert_eq!(starts, b"abc".iter().copied().map(u32::from).collect());
        let whole = store.training_batch(0, 0, 0, 2, 5).unwrap();
        assert_eq!(whole.inputs, b"abcdeabcde".map(u32::from));
    }

    #[test]
    fn evaluation_counts_every_target_once() {
        let store = store(TEXT);
        let tokens: Vec<u32> = TEXT.bytes().map(u32::from).collect();
        for context in 1..TEXT.len() {
            for batch_size in [1, 2, 3, 50] {
                let windows = store.evaluation_windows(context, batch_size).unwrap();
                assert_eq!(windows.targets(), 35);
                let expected = windows.len();
                let batches: Vec<Batch> = windows.collect();
                assert_eq!(batches.len(), expected);
                assert!(batches.iter().all(|b| b.rows <= batch_size && b.inputs.len() == b.rows * b.length));
                let targets: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
                let inputs: Vec<u32> = batches.iter().flat_map(|b| b.inputs.clone()).collect();
                assert_eq!(targets, tokens[1..], "context {context} batch {batch_size}");
                assert_eq!(inputs, tokens[..35]);
            }
        }
    }

    #[test]
    fn a_short_split_says_what_it_has_and_needs() {
        let store = store("abcdef");
        for error in [
            store.training_batch(0, 0, 0, 1, 6).unwrap_err(),
            store.evaluation_windows(6, 1).map(|_| ()).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(
                message.contains("training split has 6 tokens") && message.contains("needs 7"),
                "{message}"
            );
        }
        assert!(store.training_batch(0, 0, 0, 0, 2).unwrap_err().to_string().contains("batch_size"));
        assert!(store.check_context(0).unwrap_err().to_string().contains("context"));
        assert!(store.check_context(5).is_ok());
    }
}
