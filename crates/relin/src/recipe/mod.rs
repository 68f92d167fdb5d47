//! A recipe: everything that decides a training run, as a TOML file states it.
//!
//! ```toml
//! task = "causal-lm"
//! [model]
//! position = "lrpe-unitary"
//! [data]
//! source = "quickstart"
//! [train]
//! steps = 400
//! ```
//!
//! Every key has a default. A key can be overridden by its path (`train.steps=200`), and what is wrong is named
//! with its path, its file and line, what was expected and what was found.

mod builtin;
mod check;
mod data;
mod error;
mod fingerprint;
mod former;
mod model;
mod music;
mod overrides;
mod position;
mod probe;
mod read;
mod source_text;
mod train;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use builtin::{BUILTIN, Builtin};
pub use data::{DataConfig, Sources, TokenizerChoice};
pub use error::RecipeError;
pub use model::{
    Absolute, Activation, AttentionKind, FeatureMap, Mlp, ModelConfig, Norm, Normalizer, OutputNorm, Pair,
    Pixels, Pooling, Stage, Standard,
};
pub use music::{MusicConfig, Tokenization};
pub use overrides::Override;
pub use position::{ABSOLUTE_PRESETS, BIAS_PRESETS, CrossPosition, Position};
pub use probe::{ProbeConfig, ProbeKind};
pub use source_text::SourceText;
pub use train::{AngleOptimizer, Schedule, TrainConfig};

use crate::data::{ListOpsTokens, Marks};

/// What is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Predict the next token.
    #[default]
    CausalLm,
    /// Tell the tokens that were masked from those around them.
    MaskedLm,
    /// Which class a text belongs to.
    TextClassification,
    /// A number for a text, or for a pair of texts: how alike they are, say.
    TextRegression,
    /// Which class an image belongs to.
    ImageClassification,
    /// Predict the next token of a piece of music.
    Music,
    /// Made sequences with exact answers ([`ProbeKind`]).
    Probe,
    /// A text from another text: translation and the like.
    SequenceToSequence,
    /// What a nested list of digits is worth.
    #[serde(rename = "listops")]
    ListOps,
    /// Whether two marked ends belong to the same dashed contour.
    Pathfinder,
}

/// Everything that decides a training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// What is learned.
    pub task: Task,
    /// The network.
    pub model: ModelConfig,
    /// What it reads.
    pub data: DataConfig,
    /// How it is trained.
    pub train: TrainConfig,
}

impl Recipe {
    /// The recipe of a file, or the built-in one of that name; a file wins.
    ///
    /// # Errors
    /// If there is neither, or as [`Recipe::parse`].
    pub fn find(name: &str, overrides: &[Override]) -> Result<Self, RecipeError> {
        let path = Path::new(name);
        if path.is_file() {
            return Self::read(path, overrides);
        }
        match builtin::builtin(name) {
            Some(builtin) => Self::parse(&SourceText::builtin(builtin), overrides),
            None if looks_like_a_path(name) => Self::read(path, overrides),
            None => Err(RecipeError::unknown_recipe(name)),
        }
    }

    /// The recipe of a file.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Recipe::parse`].
    pub fn read(path: &Path, overrides: &[Override]) -> Result<Self, RecipeError> {
        Self::parse(&SourceText::read(path)?, overrides)
    }

    /// The recipe that a text states, after `overrides`, checked.
    ///
    /// # Errors
    /// On bad syntax, unknown keys, values of the wrong kind, and values that contradict each other.
    pub fn parse(text: &SourceText, overrides: &[Override]) -> Result<Self, RecipeError> {
        let recipe = read::parse(text, overrides)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether the values make sense, alone and together.
    ///
    /// # Errors
    /// Names the field, what was expected and what was found.
    pub fn check(&self) -> Result<(), RecipeError> {
        check::check(self)
    }

    /// What is allowed and yet unlikely to be meant.
    pub fn warnings(&self) -> Vec<&'static str> {
        let unsolvable = self.task == Task::ListOps && self.data.listops.tokens == ListOpsTokens::Published;
        unsolvable.then_some(UNSOLVABLE).into_iter().collect()
    }

    /// Fills what follows from other values; `vocab_size` is the tokenizer's, if there is one.
    pub fn resolve(&mut self, vocab_size: Option<usize>) {
        self.model.vocab_size = vocab_size;
        self.model.resolve(self.data.context);
    }

    /// Tokens of the model's own, above those of the tokenizer: the mask of a masked language model, what separates the
    /// texts of a joined pair, what begins and ends a target.
    pub fn own_tokens(&self) -> usize {
        match self.task {
            Task::MaskedLm => 1,
            Task::SequenceToSequence => Marks::COUNT,
            Task::TextClassification => {
                usize::from(self.data.text_pair_column.is_some() && self.model.pair == Pair::Joined)
            }
            _ => 0,
        }
    }

    /// The recipe as TOML; reading it gives the same recipe.
    ///
    /// # Errors
    /// If a number does not fit TOML's 64-bit signed integers.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        let unwritable = |e: toml::ser::Error| RecipeError::Unwritable { reason: e.to_string() };
        // By way of a table, so that plain keys precede nested tables whatever the order of the fields.
        let table = toml::Table::try_from(self).map_err(unwritable)?;
        toml::to_string_pretty(&table).map_err(unwritable)
    }

    /// SHA-256, in hexadecimal, of all that decides the result; equal recipes continue each other's runs.
    ///
    /// Left out are the keys that only watch or store a run (`log_every`, `save_every`, `keep_checkpoints`,
    /// `gradient_checkpointing`) and `vocab_size`, which follows from the data. The cadence and size of the
    /// evaluations are kept: they decide which weights count as the best.
    pub fn fingerprint(&self) -> String {
        fingerprint::fingerprint(self)
    }

    /// The keys in which two recipes differ, as `key: this one's value, the other's value`, among those that
    /// [`Recipe::fingerprint`] sees.
    pub fn differences(&self, other: &Recipe) -> Vec<String> {
        fingerprint::differences(self, other)
    }
}

const UNSOLVABLE: &str = "data.listops.tokens = \"published\" leaves out where lists end: most sequences then have no single right \
answer, and scores say little; \"fixed\" is the task as it is meant";

fn looks_like_a_path(name: &str) -> bool {
    name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|ext| ext == "toml")
}

#[cfg(test)]
mod tests;
