//! Text for training: where it comes from, its tokens on disk, its split, its batches, and sets to fetch or make. Beside it
//! labelled texts and images, made examples, parallel texts, and music.
//!
//! Nothing here is held in memory that grows with the text: files are mapped, tokens are streamed to a file.

mod arena;
mod batch;
pub mod catalogue;
mod corpus;
mod download;
mod error;
pub(crate) mod files;
mod generators;
mod labelled;
pub mod music;
mod parallel;
mod pieces;
mod source;
mod store;

pub use arena::{
    ListOps, ListOpsConfig, ListOpsTokens, PATHFINDER_SIZES, Part, Pathfinder, PathfinderConfig,
};
pub use batch::{Batch, EvaluationWindows};
pub use corpus::Corpus;
pub use error::DataError;
pub use labelled::{
    Answers, Augment, Examples, GREY_VALUES, ImageSize, ImageSplit, Images, Input, Labelled, LabelledImages,
    LabelledTexts, RandAugment, Second, Skipped, Texts, UNLABELLED, batch_indices, hold_out,
};
pub use parallel::{
    MADE_PAIRS, MadePairs, MadePart, Marks, Padded, ParallelBatch, ParallelTexts, ParallelTokens,
};
pub use pieces::{Piece, Pieces};
pub use source::{QUICKSTART, TextSource};
pub use store::TokenStore;
