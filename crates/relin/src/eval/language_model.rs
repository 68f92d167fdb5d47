//! Scores of language models, causal and masked, at any context length.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use super::{EvalError, check_positions};
use crate::data::{Batch, Corpus, TextSource, TokenStore};
use crate::hub::{Loaded, load_network, load_tokenizer};
use crate::model::{CausalLm, MaskedLm, TokenModel};
use crate::recipe::{Recipe, Task};
use crate::runlog::RECIPE_FILE;
use crate::tasks::{Masking, TokenScores};
use crate::tokenizer::Tokenizer;

/// What to score a run on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalOptions {
    /// Other data than the run's own: a file, folder, glob or set.
    pub data: Option<PathBuf>,
    /// `validation` (the default) or `training` of the run's data; of other data there is only `all`.
    pub split: Option<String>,
    /// Context lengths; the run's own if empty.
    pub lengths: Vec<usize>,
}

/// Scores at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct Evaluation {
    /// Which part of the data.
    pub split: String,
    /// Context length.
    pub length: usize,
    /// Nats a target.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Bits a byte of text; none of a masked language model, which is asked for a share of the text only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Share of targets that were the likeliest token.
    pub accuracy: f64,
    /// Targets.
    pub tokens: usize,
}

/// Targets scored at once, whatever the length.
const TOKENS_AT_ONCE: usize = 4096;

/// Scores a run of a language model at every length; `report` is called after each.
///
/// # Errors
/// See [`EvalError`].
pub fn evaluate(
    run: &Path,
    options: &EvalOptions,
    report: &mut dyn FnMut(&Evaluation),
) -> Result<(), EvalError> {
    match Recipe::read(&run.join(RECIPE_FILE), &[]).map_err(crate::hub::HubError::from)?.task {
        Task::MaskedLm => {
            let loaded = load_network(run, |config| MaskedLm::new(config, 0, &Device::flex()))?;
            let text = Text::open(run, &loaded, options)?;
            let masking = Masking::new(&loaded.recipe, &text.tokenizer);
            at_every_length(&loaded, options, report, |length| {
                let mut scores = TokenScores::default();
                masking.held_out(text.windows(length)?).for_each(|batch| scores.add(&loaded.model, &batch));
                Ok(text.evaluation(length, scores, None))
            })
        }
        _ => {
            let loaded = load_network(run, |config| CausalLm::new(config, 0, &Device::flex()))?;
            let text = Text::open(run, &loaded, options)?;
            at_every_length(&loaded, options, report, |length| {
                let (mut scores, mut bytes) = (TokenScores::default(), 0);
                for batch in text.windows(length)? {
                    scores.add(&loaded.model, &batch);
                    bytes += text.tokenizer.byte_count(&batch.targets);
                }
                let bits = scores.nats / std::f64::consts::LN_2 / bytes as f64;
                Ok(text.evaluation(length, scores, Some(bits)))
            })
        }
    }
}

fn at_every_length<M: TokenModel>(
    loaded: &Loaded<M>,
    options: &EvalOptions,
    report: &mut dyn FnMut(&Evaluation),
    mut evaluate: impl FnMut(usize) -> Result<Evaluation, EvalError>,
) -> Result<(), EvalError> {
    let own = [loaded.recipe.data.context];
    for &length in if options.lengths.is_empty() { &own[..] } else { &options.lengths } {
        check_positions(length, loaded.model.max_positions())?;
        report(&evaluate(length)?);
    }
    Ok(())
}

/// A part of some text as tokens.
struct Text {
    split: String,
    tokenizer: Tokenizer,
    store: TokenStore,
}

impl Text {
    fn open<M>(run: &Path, loaded: &Loaded<M>, options: &EvalOptions) -> Result<Self, EvalError> {
        let cache = run.join("cache");
        let tokenizer = load_tokenizer(run, &loaded.config, loaded.recipe.own_tokens())?;
        if let Some(path) = &options.data {
            let split = options.split.clone().unwrap_or_else(|| "all".into());
            if split != "all" {
                return Err(EvalError::Split { found: split, known: "`all` of --data" });
            }
            let text = TextSource::open(&path.to_string_lossy())?;
            let store = TokenStore::open(&text, &tokenizer, &cache, "other")?;
            return Ok(Self { split, tokenizer, store });
        }
        let split = options.split.clone().unwrap_or_else(|| "validation".into());
        let corpus = Corpus::open(&loaded.recipe.data, Some(tokenizer.clone()), &cache)?;
        match split.as_str() {
            "validation" => Ok(Self { split, tokenizer, store: corpus.validation }),
            "training" => Ok(Self { split, tokenizer, store: corpus.training }),
            _ => Err(EvalError::Split { found: split, known: "`training` and `validation`" }),
        }
    }

    fn windows(&self, length: usize) -> Result<impl Iterator<Item = Batch>, EvalError> {
        Ok(self.store.evaluation_windows(length, (TOKENS_AT_ONCE / length).max(1))?)
    }

    fn evaluation(&self, length: usize, scores: TokenScores, bits_per_byte: Option<f64>) -> Evaluation {
        Evaluation {
            split: self.split.clone(),
            length,
            loss: scores.loss(),
            perplexity: scores.perplexity(),
            bits_per_byte,
            accuracy: scores.accuracy(),
            tokens: scores.targets,
        }
    }
}
