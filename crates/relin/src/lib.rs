//! relin: relative positions for linear attention, as burn modules, models, training and generation.

pub mod data;
pub mod ops;
pub mod tokenizer;
