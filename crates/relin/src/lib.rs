//! relin

pub mod data;
pub mod tokenizer;
