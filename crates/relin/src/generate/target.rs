//! Writing a target from a source with a trained encoder-decoder.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use serde::Serialize;

use super::GenerateError;
use super::beam::{SearchOptions, search};
use crate::data::Marks;
use crate::hub::load_seq2seq;

/// How to write a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetOptions {
    /// The source.
    pub prompt: String,
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// Beginnings kept at a time; 1 takes the likeliest next token always.
    pub beam: usize,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "generated")]
pub struct Target {
    /// The text.
    pub text: String,
    /// Tokens of it.
    pub tokens: usize,
    /// Tokens per second, the source not counted.
    pub tokens_per_second: f64,
    /// `log p` of all tokens and of the end.
    pub log_probability: f64,
}

/// Writes the target of a source with the run in a folder.
///
/// # Errors
/// If the run cannot be read, the source has no tokens, or learned absolute positions end before its end.
pub fn generate_target(run: &Path, options: &TargetOptions) -> Result<Target, GenerateError> {
    let trained = load_seq2seq(run, &Device::flex())?;
    let mut source = trained.tokenizer.encode(&options.prompt).map_err(GenerateError::Prompt)?;
    if source.is_empty() {
        return Err(GenerateError::NoSource);
    }
    source.push(Marks::above(trained.tokenizer.vocab_size()).end);
    let limit = trained.model.max_positions().unwrap_or(usize::MAX);
    let wanted = source.len().max(options.max_new_tokens);
    if wanted > limit {
        return Err(GenerateError::TooLong { wanted, limit });
    }
    let began = Instant::now();
    let search_options = SearchOptions { beam: options.beam, most: options.max_new_tokens };
    let found = search(&trained.model, &source, search_options);
    let seconds = began.elapsed().as_secs_f64();
    Ok(Target {
        text: trained.tokenizer.decode(&found.tokens),
        tokens: found.tokens.len(),
        tokens_per_second: found.tokens.len() as f64 / seconds.max(1e-9),
        log_probability: found.log_probability,
    })
}
