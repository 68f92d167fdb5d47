//! relin: relative positions for linear attention, as burn modules, models, training and generation.

pub mod data;
pub mod eval;
pub mod generate;
mod hexadecimal;
pub mod hub;
pub mod model;
pub mod nearest;
pub mod nn;
pub mod ops;
pub mod recipe;
pub mod runlog;
pub mod study;
pub mod tasks;
pub mod tokenizer;
pub mod train;

/// The README's example, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
