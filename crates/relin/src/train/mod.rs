//! Training.

pub mod events;
