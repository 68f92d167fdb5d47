//! Labelled examples: texts in tables and folders, images in files, and batches of either.

mod class_folders;
mod encoded;
mod images;
mod parquet;
mod skipped;
mod table;
mod texts;

use std::cell::RefCell;

use relin_kernels::rng::Rng;

pub use encoded::{Answers, LabelledTexts};
pub use images::{Augment, GREY_VALUES, ImageSize, ImageSplit, Images, LabelledImages, RandAugment};
pub use skipped::Skipped;
pub(super) use table::Column;
pub use texts::Texts;
pub(super) use texts::read_columns;

use super::DataError;

/// The class of an example whose class is not known; it counts for nothing in a loss.
pub const UNLABELLED: u32 = crate::ops::IGNORE;

/// A batch of examples and their classes. An example is one sequence, or two where two towers read a pair of texts;
/// both are then neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    /// What the model reads, padded to `length` tokens each.
    pub input: Input,
    /// T, the longest sequence.
    pub length: usize,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Classes, one an example.
    pub labels: Vec<u32>,
    /// Numbers instead of classes, standardised, one an example; of one that is not known, NaN.
    pub values: Option<Vec<f32>>,
    /// Where examples are made of two, the other class of each.
    pub second: Option<Vec<Second>>,
}

/// The other class of an example that was made of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// The class.
    pub label: u32,
    /// Its share of the target, from 0 to 1.
    pub weight: f32,
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// `[S, T]` token ids of S sequences; padding is 0 and is never attended to.
    Tokens(Vec<u32>),
    /// `[S, T, width]`: images in patches, or in pixels for a stem.
    Patches {
        /// Values around 0.
        values: Vec<f32>,
        /// Numbers of one patch.
        width: usize,
        /// Rows of patches, and patches in a row.
        grid: [usize; 2],
    },
}

impl Examples {
    /// Number of examples.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.lengths.len()
    }
}

/// Examples that batches are made of.
pub trait Labelled {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of all examples.
    fn tokens(&self) -> usize;

    /// The class of one; [`UNLABELLED`] if it is not known.
    fn label(&self, index: usize) -> u32;

    /// What the user should know of how they were read.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Those at `indices`, varied by `rng` if there is one.
    fn batch(&self, indices: &[usize], rng: Option<Rng>) -> Examples;
}

/// The stream of random numbers that orders examples.
const ORDER_STREAM: u64 = u64::from_le_bytes(*b"examples");
/// That which chooses those to validate on.
const HELD_OUT: u64 = u64::from_le_bytes(*b"held-out");

/// The examples of a batch: every epoch takes each once, in an order of its own. A pure function of
/// `(seed, number of the batch)`.
pub fn batch_indices(len: usize, seed: u64, batch: u64, rows: usize) -> Vec<usize> {
    let first = batch * rows as u64;
    let index = |sample: u64| {
        with_order(len, seed, sample / len as u64, |order| order[(sample % len as u64) as usize])
    };
    (first..first + rows as u64).map(index).collect()
}

thread_local! {
    /// The latest order and what it is a function of, since the next batch mostly needs the same one.
    static ORDER: RefCell<(Epoch, Vec<usize>)> = const { RefCell::new(((0, 0, 0), Vec::new())) };
}

/// Number of examples, seed, and number of the epoch.
type Epoch = (usize, u64, u64);

fn with_order<T>(len: usize, seed: u64, epoch: u64, read: impl FnOnce(&[usize]) -> T) -> T {
    ORDER.with_borrow_mut(|(of, order)| {
        if *of != (len, seed, epoch) {
            *order = Rng::new(seed, ORDER_STREAM ^ epoch << 16).permutation(len);
            *of = (len, seed, epoch);
        }
        read(order)
    })
}

/// A share of `len` examples, drawn by the seed, apart from the others: `(others, share)`, each in order.
///
/// # Errors
/// If either is empty.
pub fn hold_out(
    len: usize,
    share: f64,
    seed: u64,
    name: &str,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let mut order = Rng::new(seed, HELD_OUT).permutation(len);
    let held = (len as f64 * share).round() as usize;
    if held == 0 || held >= len {
        let reason = format!("{len} examples cannot be split with data.validation = {share}");
        return Err(DataError::Examples { name: name.into(), reason });
    }
    let mut kept = order.split_off(held);
    order.sort_unstable();
    kept.sort_unstable();
    Ok((kept, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_takes_every_example_once_in_another_order() {
        let epoch = |epoch: u64| -> Vec<usize> {
            (0..5).flat_map(|batch| batch_indices(10, 3, 5 * epoch + batch, 2)).collect()
        };
        let sorted = |mut order: Vec<usize>| {
            order.sort_unstable();
            order
        };
        assert_eq!(sorted(epoch(0)), (0..10).collect::<Vec<_>>());
        assert_eq!(sorted(epoch(7)), (0..10).collect::<Vec<_>>());
        assert_ne!(epoch(0), epoch(7));
        assert_eq!(batch_indices(3, 1, 4, 8).len(), 8, "a batch may pass the end of an epoch");
    }

    #[test]
    fn every_example_is_trained_on_or_held_out() {
        let (kept, held) = hold_out(10, 0.3, 5, "t").unwrap();
        assert_eq!((kept.len(), held.len()), (7, 3));
        let mut all = [kept, held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_ne!(held, hold_out(10, 0.3, 6, "t").unwrap().1);
        assert!(hold_out(3, 0.1, 0, "t.tsv").unwrap_err().to_string().contains("t.tsv: 3 examples"));
    }
}
