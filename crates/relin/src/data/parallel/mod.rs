//! Parallel texts: each with what it is to become.

mod batch;
mod made;
mod texts;

pub use batch::{Marks, Padded, ParallelBatch, ParallelTokens};
pub use made::{MADE_PAIRS, MadePairs, MadePart};
pub use texts::ParallelTexts;
