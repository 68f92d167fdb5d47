//! Going on with a piece of music, in constant memory with linear attention.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;

use super::state::{self, Saved};
use super::{GenerateError, Sampler, SamplerOptions, check_length};
use crate::data::DataError;
use crate::data::music::{BEGIN, Chorale, Kind, Score, Vocabulary, read_jsb, read_midi};
use crate::hub::{TrainedMusic, load_music};
use crate::model::Session;

/// How to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct MusicOptions {
    /// The piece to go on from, MIDI or chorales in JSON, of which the first one of `valid` is taken, else the first of all;
    /// without one a piece is begun.
    pub prompt: Option<PathBuf>,
    /// Only so many tokens of it.
    pub prompt_tokens: Option<usize>,
    /// Tokens to write.
    pub max_new_tokens: usize,
    /// How the next token is chosen.
    pub sampler: SamplerOptions,
    /// A session to go on with, which knows its piece so far.
    pub load_state: Option<PathBuf>,
    /// Where to save the session at the end.
    pub save_state: Option<PathBuf>,
}

/// A piece and its continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Both of them.
    pub score: Score,
    /// Names of the new tokens.
    pub names: Vec<String>,
    /// When what was given ends.
    pub given: u32,
    /// Tokens of what was given.
    pub given_tokens: usize,
    /// New tokens per second, those given not counted.
    pub tokens_per_second: f64,
    /// New tokens that the grammar or the ranges of the voices forbid, counted anew over the whole piece.
    pub invalid: usize,
    /// New tokens that the model by itself would have chosen against the grammar or beyond the ranges of the voices, with the
    /// same random numbers. Each was replaced by one that may stand there.
    pub prevented: usize,
}

/// Name of the tokens so far beside a saved session.
const TOKENS_NOTE: &str = "music_tokens";

/// Goes on with a piece by the run in a folder; `on_token` is called after every token with their number.
///
/// # Errors
/// See [`GenerateError`].
pub fn generate_music(
    run: &Path,
    options: &MusicOptions,
    on_token: &mut dyn FnMut(usize),
) -> Result<Written, GenerateError> {
    let trained = load_music(run, &Device::flex())?;
    let TrainedMusic { model, vocabulary, hash, .. } = &trained;
    let (mut session, mut tokens, mut pending) = match &options.load_state {
        Some(path) => {
            let saved = state::open(path, model, hash, vocabulary.size())?;
            let tokens = saved.tokens(TOKENS_NOTE, vocabulary.size())?;
            let Saved { session, last, .. } = saved;
            (session, tokens, vec![last])
        }
        None => (Session::new(model), Vec::new(), vec![BEGIN]),
    };
    let prompt = match &options.prompt {
        Some(path) => prompt_tokens(path, vocabulary)?,
        None => Vec::new(),
    };
    let prompt = &prompt[..options.prompt_tokens.unwrap_or(usize::MAX).min(prompt.len())];
    tokens.extend(prompt);
    pending.extend(prompt);
    check_length(model, session.position() + pending.len() + options.max_new_tokens)?;
    let given_tokens = tokens.len();
    let given = vocabulary.decode(&tokens).end();
    let next = pending.pop().unwrap_or(BEGIN);
    session.prefill(&pending);

    let began = Instant::now();
    let sampler = Sampler::new(options.sampler);
    let prevented = continue_music(
        &mut session,
        vocabulary,
        (&mut tokens, next),
        options.max_new_tokens,
        &sampler,
        on_token,
    );
    let seconds = began.elapsed().as_secs_f64();
    let last = tokens.last().copied().unwrap_or(BEGIN);
    if let Some(path) = &options.save_state {
        let all = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        state::save(path, hash, &session, last, &[(TOKENS_NOTE, all)])?;
    }
    Ok(Written {
        score: vocabulary.decode(&tokens),
        names: tokens[given_tokens..].iter().map(|&token| vocabulary.name(token)).collect(),
        given,
        given_tokens,
        invalid: forbidden(vocabulary, &tokens, given_tokens),
        tokens_per_second: options.max_new_tokens as f64 / seconds.max(1e-9),
        prevented,
    })
}

/// Appends `count` tokens to those of a piece, each of which the grammar and the ranges allow. `next` is the token that the
/// session has still to take in. Gives how many the model by itself would have chosen otherwise than allowed.
pub fn continue_music(
    session: &mut Session<'_>,
    vocabulary: &Vocabulary,
    (tokens, mut next): (&mut Vec<u32>, u32),
    count: usize,
    sampler: &Sampler,
    on_token: &mut dyn FnMut(usize),
) -> usize {
    let mut grammar = vocabulary.grammar();
    tokens.iter().for_each(|&token| grammar.push(token));
    let mut prevented = 0;
    for at in 0..count {
        let logits = session.step(next);
        let position = session.position() as u64;
        let allowed: Vec<u32> = (0..logits.len() as u32).filter(|&token| grammar.allows(token)).collect();
        let of_allowed: Vec<f32> = allowed.iter().map(|&token| logits[token as usize]).collect();
        prevented += usize::from(!grammar.allows(sampler.choose(&logits, position)));
        next = allowed.get(sampler.choose(&of_allowed, position) as usize).copied().unwrap_or(BEGIN);
        grammar.push(next);
        tokens.push(next);
        on_token(at + 1);
    }
    prevented
}

/// Tokens after the first `given` ones that may not stand where they stand.
fn forbidden(vocabulary: &Vocabulary, tokens: &[u32], given: usize) -> usize {
    let mut grammar = vocabulary.grammar();
    let mut count = 0;
    for (at, &token) in tokens.iter().enumerate() {
        count += usize::from(at >= given && !grammar.allows(token));
        grammar.push(token);
    }
    count
}

/// The tokens of a file's piece.
fn prompt_tokens(path: &Path, vocabulary: &Vocabulary) -> Result<Vec<u32>, DataError> {
    let tokens = match Kind::of(path)? {
        Kind::Midi => vocabulary.encode(&read_midi(path)?),
        Kind::Json => {
            let pieces = read_jsb(path)?;
            let held_out = pieces.iter().find(|piece| piece.split == Some("valid"));
            let Some(Chorale { steps, .. }) = held_out.or(pieces.first()) else {
                let reason = "there is no piece in it".into();
                return Err(DataError::Examples { name: path.display().to_string(), reason });
            };
            vocabulary.encode_steps(steps)
        }
    };
    tokens.map_err(|source| DataError::Music { path: path.into(), source })
}
