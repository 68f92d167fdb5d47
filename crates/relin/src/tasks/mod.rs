//! What a run can learn: a task brings its data, its model and its scores to the training loop, which knows none of them.

mod class_scores;
pub(crate) mod classification;
mod language_model;
mod listops;
mod masked_language_model;
pub(crate) mod music;
mod pathfinder;
mod probe;
mod regression;
mod sequence_to_sequence;
mod token_scores;

use std::path::Path;

use burn::tensor::Device;

pub use class_scores::ClassScores;
pub use classification::{Classification, classify};
pub use language_model::LanguageModel;
pub use masked_language_model::{MaskedLanguageModel, Masking};
pub use music::{BUCKET, MusicModel, PlacedScores};
pub use probe::Probe;
pub use regression::{NumberScores, regress};
pub use sequence_to_sequence::{SequenceToSequence, TargetScores, score_targets};
pub use token_scores::TokenScores;

use crate::hub::TOKENIZER_FILE;
use crate::model::{ModelError, Network};
use crate::recipe::Recipe;
use crate::tokenizer::Tokenizer;
use crate::train::TrainError;

/// A task with its data opened.
pub trait Task: Sized {
    /// What is trained.
    type Model: Network;

    /// Opens the data and writes to the run's folder what using the model will need of it. Fills into the recipe what follows
    /// from the data. `resuming` says that the folder is that of a former run of the same recipe.
    ///
    /// # Errors
    /// If the data cannot be read or does not suit the recipe.
    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError>;

    /// What the user should know of the data, such as rows that were skipped.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// A model with its initial weights.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    fn model(recipe: &Recipe, device: &Device) -> Result<Self::Model, ModelError>;

    /// Micro-batch `micro` of update `step`, a pure function of both and the recipe's seed.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn batch(
        &self,
        recipe: &Recipe,
        step: usize,
        micro: usize,
    ) -> Result<<Self::Model as Network>::Batch, TrainError>;

    /// Tokens of a micro-batch, or their mean number, for the speed that is reported.
    fn tokens_per_batch(&self, recipe: &Recipe) -> usize;

    /// Scores a model on what is held out.
    ///
    /// # Errors
    /// If the data cannot be read.
    fn evaluate(&self, recipe: &Recipe, model: &Self::Model) -> Result<Score, TrainError>;
}

/// The tokenizer that a run has to go on with: its own if it is resumed, else that of the run it begins with, if any.
fn former_tokenizer(recipe: &Recipe, folder: &Path, resuming: bool) -> Result<Option<Tokenizer>, TrainError> {
    let former = if resuming { Some(folder) } else { recipe.train.init_from.as_deref() };
    Ok(former.map(|folder| Tokenizer::load(folder.join(TOKENIZER_FILE))).transpose()?)
}

/// How good a model is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Nats a target.
    pub loss: f64,
    /// Share of right answers, where a task counts them.
    pub accuracy: Option<f64>,
}
