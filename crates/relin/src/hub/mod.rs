//! A trained model on disk: a folder that can be moved anywhere.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | the network, with Hugging Face's key names, and the version of this layout |
//! | `model.safetensors` | the weights with the best validation loss, and their SHA-256 |
//! | `tokenizer.json` | the tokenizer, as the `tokenizers` libraries read it |
//! | `music.json` | in its place for music: the tokens and the ranges of the voices |
//! | `generation_config.json` | defaults of sampling |
//! | `recipe.toml` | the recipe, resolved |
//! | `metrics.jsonl`, `tensorboard/` | what training reported |
//! | `state/` | what resuming needs |

mod adopt;
mod config;
mod weights;

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::data::music::{VOCABULARY_FILE, Vocabulary};
use crate::model::{CausalLm, ModelError, Network, Seq2Seq, TensorError, load_tensors};
use crate::recipe::{ModelConfig, Recipe, RecipeError, Task};
use crate::runlog::{RECIPE_FILE, RunlogError, write_atomic};
use crate::tokenizer::{Tokenizer, TokenizerError};
pub use adopt::adopt;
pub use config::{CONFIG_FILE, read_config, write_config};
pub use weights::{Weights, read_weights, write_tensors, write_weights};

/// Name of the weights in a run's folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the tokenizer in a run's folder.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
const GENERATION_FILE: &str = "generation_config.json";

/// Why a model cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `config.json`, or the recipe beside it, is not what it should be.
    #[error("{}: {reason}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Field, expected, found.
        reason: String,
    },
    /// A layout that this build does not know.
    #[error("{}: layout version {found}; this build of relin reads version {known}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// Version that can be read.
        known: u64,
    },
    /// Not a safetensors file, or a truncated one.
    #[error("{} is not a whole safetensors file", path.display())]
    Safetensors {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// Its content is not what was written.
    #[error("{} is damaged: its tensors have SHA-256 {found}, but {expected} was written with them", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Sum in the file.
        expected: String,
        /// Sum of its content.
        found: String,
    },
    /// A tensor of a type other than f32.
    #[error("{}: tensor `{name}` is {found}; only F32 is read", path.display())]
    Type {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The tensors are not those of the configuration.
    #[error("{} does not fit {CONFIG_FILE}", path.display())]
    Tensors {
        /// Which file.
        path: PathBuf,
        /// Which tensor and how.
        source: TensorError,
    },
    /// The configuration contradicts itself.
    #[error("{}", path.display())]
    Model {
        /// Which file.
        path: PathBuf,
        /// How.
        source: ModelError,
    },
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer is not the one that the model was trained with.
    #[error("{}: {found} tokens, but {CONFIG_FILE} says vocab_size = {expected}", path.display())]
    Vocabulary {
        /// Which file.
        path: PathBuf,
        /// Tokens of the model.
        expected: usize,
        /// Tokens of the tokenizer, and the model's own.
        found: usize,
    },
    /// The recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] RunlogError),
}

/// A model with all that is needed to use it.
#[derive(Debug)]
pub struct TrainedModel {
    /// The network.
    pub config: ModelConfig,
    /// The network with its weights, without autodiff.
    pub model: CausalLm,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How it was trained.
    pub recipe: Recipe,
    /// SHA-256 of the weights, which names the model.
    pub hash: String,
}

/// Loads a run's language model.
///
/// # Errors
/// If a file is missing, damaged, of another version or kind, or does not fit the others; the file is named.
pub fn load(folder: &Path, device: &Device) -> Result<TrainedModel, HubError> {
    let Loaded { config, model, recipe, hash } =
        load_network(folder, |config| CausalLm::new(config, 0, device))?;
    if recipe.task != Task::CausalLm {
        let reason = "task: expected `causal-lm`, whose model reads and writes text".into();
        return Err(HubError::Config { path: folder.join(RECIPE_FILE), reason });
    }
    let tokenizer = load_tokenizer(folder, &config, 0)?;
    Ok(TrainedModel { config, model, tokenizer, recipe, hash })
}

/// A model of music with all that is needed to use it.
#[derive(Debug)]
pub struct TrainedMusic {
    /// The network with its weights, without autodiff.
    pub model: CausalLm,
    /// Scores to tokens and back.
    pub vocabulary: Vocabulary,
    /// How it was trained.
    pub recipe: Recipe,
    /// SHA-256 of the weights, which names the model.
    pub hash: String,
}

/// Loads a run's model of music.
///
/// # Errors
/// As [`load`].
pub fn load_music(folder: &Path, device: &Device) -> Result<TrainedMusic, HubError> {
    let Loaded { config, model, recipe, hash } =
        load_network(folder, |config| CausalLm::new(config, 0, device))?;
    let vocabulary = load_vocabulary(folder)?;
    let (expected, found) = (config.vocab_size.unwrap_or(0), vocabulary.size());
    if expected != found {
        return Err(HubError::Vocabulary { path: folder.join(VOCABULARY_FILE), expected, found });
    }
    Ok(TrainedMusic { model, vocabulary, recipe, hash })
}

/// Loads the vocabulary of a run's model of music.
///
/// # Errors
/// If it cannot be read.
pub fn load_vocabulary(folder: &Path) -> Result<Vocabulary, HubError> {
    let path = folder.join(VOCABULARY_FILE);
    Vocabulary::load(&path).map_err(|reason| HubError::Config { path, reason })
}

/// An encoder-decoder with all that is needed to use it.
#[derive(Debug)]
pub struct TrainedSeq2Seq {
    /// The network with its weights, without autodiff.
    pub model: Seq2Seq,
    /// Text to tokens and back; the marks are above its tokens.
    pub tokenizer: Tokenizer,
    /// How it was trained.
    pub recipe: Recipe,
}

/// Loads a run's encoder-decoder.
///
/// # Errors
/// As [`load`].
pub fn load_seq2seq(folder: &Path, device: &Device) -> Result<TrainedSeq2Seq, HubError> {
    let Loaded { config, model, recipe, .. } =
        load_network(folder, |config| Seq2Seq::new(config, 0, device))?;
    let tokenizer = load_tokenizer(folder, &config, recipe.own_tokens())?;
    Ok(TrainedSeq2Seq { model, tokenizer, recipe })
}

/// A network of any kind with what stands beside it in every run.
#[derive(Debug)]
pub struct Loaded<M> {
    /// The network.
    pub config: ModelConfig,
    /// The network with its weights.
    pub model: M,
    /// How it was trained.
    pub recipe: Recipe,
    /// SHA-256 of the weights, which names the model.
    pub hash: String,
}

/// Loads a run's model of a kind, which `build` makes with weights of any values.
///
/// # Errors
/// As [`load`].
pub fn load_network<M: Network>(
    folder: &Path,
    build: impl FnOnce(&ModelConfig) -> Result<M, ModelError>,
) -> Result<Loaded<M>, HubError> {
    let config_path = folder.join(CONFIG_FILE);
    let config = config::read_config_of::<M>(&config_path)?;
    let weights_path = folder.join(WEIGHTS_FILE);
    let Weights { tensors, hash, .. } = read_weights(&weights_path)?;
    let model = build(&config).map_err(|source| HubError::Model { path: config_path, source })?;
    let model =
        load_tensors(model, tensors).map_err(|source| HubError::Tensors { path: weights_path, source })?;
    let recipe = Recipe::read(&folder.join(RECIPE_FILE), &[])?;
    Ok(Loaded { config, model, recipe, hash })
}

/// Loads the tokenizer of a run whose model has `own` tokens above the tokenizer's.
///
/// # Errors
/// If it cannot be read, or has not as many tokens as the model leaves to it.
pub fn load_tokenizer(folder: &Path, config: &ModelConfig, own: usize) -> Result<Tokenizer, HubError> {
    let path = folder.join(TOKENIZER_FILE);
    let tokenizer = Tokenizer::load(&path)?;
    let (expected, found) = (config.vocab_size.unwrap_or(0), tokenizer.vocab_size() + own);
    if expected != found {
        return Err(HubError::Vocabulary { path, expected, found });
    }
    Ok(tokenizer)
}

/// Writes what stays the same while a model is trained: configuration and defaults of generation.
///
/// # Errors
/// If a file cannot be written.
pub fn write_static<M: Network>(folder: &Path, config: &ModelConfig) -> Result<(), HubError> {
    write_config::<M>(&folder.join(CONFIG_FILE), config)?;
    let defaults = serde_json::json!({ "do_sample": true, "temperature": 0.8, "max_new_tokens": 200 });
    Ok(write_atomic(&folder.join(GENERATION_FILE), format!("{defaults:#}\n").as_bytes())?)
}
