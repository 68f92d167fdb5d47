//! The tasks of the Long-Range Arena that can be made by rule, as its published generators make them.
//!
//! # Reference
//! Tay et al. 2021, "Long Range Arena: a benchmark for efficient transformers".

mod expression;
mod listops;
mod pathfinder;

pub(super) use expression::{Expression, Shape};
pub use listops::{ListOps, ListOpsConfig, ListOpsTokens};
pub(super) use pathfinder::write as write_pathfinder;
pub use pathfinder::{PATHFINDER_SIZES, Pathfinder, PathfinderConfig};

/// A part of a set of examples; no example is in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Training,
    /// To watch the training by.
    Validation,
    /// To score the result on.
    Test,
}

impl Part {
    /// All parts, by name.
    pub const NAMES: [(&str, Self); 3] =
        [("training", Self::Training), ("validation", Self::Validation), ("test", Self::Test)];

    /// The part of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, part)| part)
    }
}
