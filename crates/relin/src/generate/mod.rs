//! Writing text with a trained model, in constant memory with linear attention.

mod beam;
mod music;
mod sampler;
mod state;
mod stops;
mod target;

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use serde::Serialize;

use crate::data::DataError;
use crate::hub::{self, HubError, TrainedModel};
use crate::model::{CausalLm, Session, TokenModel};
use crate::tokenizer::TokenizerError;
pub use beam::{Found, SearchOptions, search};
pub use music::{MusicOptions, Written, continue_music, generate_music};
pub use sampler::{Sampler, SamplerOptions};
pub use state::{StateError, load_session, save_session};
use stops::Stops;
pub use target::{Target, TargetOptions, generate_target};

/// How to write.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Text to go on from.
    pub prompt: String,
    /// Tokens to write.
    pub max_new_tokens: usize,
    /// How the next token is chosen.
    pub sampler: SamplerOptions,
    /// Texts that end the writing; they are not written.
    pub stop: Vec<String>,
    /// A session to go on with.
    pub load_state: Option<PathBuf>,
    /// Where to save the session at the end.
    pub save_state: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "generated")]
pub struct Generated {
    /// The text, without the prompt.
    pub text: String,
    /// Tokens of it.
    pub tokens: usize,
    /// Tokens per second, the prompt not counted.
    pub tokens_per_second: f64,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The run.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The prompt has no tokens.
    #[error("the prompt")]
    Prompt(#[source] TokenizerError),
    /// The piece to go on from.
    #[error(transparent)]
    Piece(#[from] DataError),
    /// Nothing to write a target of.
    #[error("the prompt is empty: a target is written from a source")]
    NoSource,
    /// The saved session.
    #[error(transparent)]
    State(#[from] StateError),
    /// Learned absolute positions end somewhere.
    #[error("{wanted} tokens are wanted, but the model's learned absolute positions end at {limit}")]
    TooLong {
        /// Tokens seen, of the prompt and to be written.
        wanted: usize,
        /// Positions there are.
        limit: usize,
    },
}

/// Writes with the run in a folder; `on_text` is called with every piece as it comes.
///
/// # Errors
/// See [`GenerateError`].
pub fn generate(
    run: &Path,
    options: &GenerateOptions,
    on_text: &mut dyn FnMut(&str),
) -> Result<Generated, GenerateError> {
    let trained = hub::load(run, &Device::flex())?;
    let (mut session, last) = match &options.load_state {
        Some(path) => load_session(path, &trained)?,
        None => (Session::new(&trained.model), None),
    };
    let mut pending = first_tokens(&trained, &options.prompt, last)?;
    check_length(&trained.model, session.position() + pending.len() + options.max_new_tokens)?;
    let mut next = pending.pop().unwrap_or(0);
    session.prefill(&pending);

    let sampler = Sampler::new(options.sampler);
    let mut decoder = trained.tokenizer.stream();
    let mut stops = Stops::new(&options.stop);
    let (mut text, mut tokens) = (String::new(), 0);
    let mut emit = |piece: &str| {
        text.push_str(piece);
        on_text(piece);
    };
    let began = Instant::now();
    while tokens < options.max_new_tokens && !stops.reached() {
        let logits = session.step(next);
        next = sampler.choose(&logits, session.position() as u64);
        tokens += 1;
        if let Some(piece) = decoder.push(next) {
            emit(&stops.push(&piece));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rest = decoder.finish().map(|piece| stops.push(&piece)).unwrap_or_default();
    emit(&(rest + &stops.finish()));
    if let Some(path) = &options.save_state {
        save_session(path, &trained, &session, next)?;
    }
    Ok(Generated { text, tokens, tokens_per_second: tokens as f64 / seconds.max(1e-9) })
}

/// The tokens still to be taken in: the last one of a former session, then the prompt; a line break if there is
/// neither, since something must come before the first token.
fn first_tokens(trained: &TrainedModel, prompt: &str, last: Option<u32>) -> Result<Vec<u32>, GenerateError> {
    let prompt = trained.tokenizer.encode(prompt).map_err(GenerateError::Prompt)?;
    let tokens: Vec<u32> = last.into_iter().chain(prompt).collect();
    if !tokens.is_empty() {
        return Ok(tokens);
    }
    let line_break = trained.tokenizer.encode("\n").ok().and_then(|tokens| tokens.last().copied());
    Ok(vec![line_break.unwrap_or(0)])
}

fn check_length(model: &CausalLm, wanted: usize) -> Result<(), GenerateError> {
    match model.max_positions() {
        Some(limit) if wanted > limit => Err(GenerateError::TooLong { wanted, limit }),
        _ => Ok(()),
    }
}
