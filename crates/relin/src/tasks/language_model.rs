//! `causal-lm`: predict the next token of a text.

use std::path::Path;

use burn::tensor::Device;

use super::{Score, Task, TokenScores, former_tokenizer};
use crate::data::{Batch, Corpus, DataError};
use crate::hub::TOKENIZER_FILE;
use crate::model::{CausalLm, ModelError};
use crate::recipe::Recipe;
use crate::train::TrainError;

/// A text and its tokenizer.
#[derive(Debug)]
pub struct LanguageModel {
    corpus: Corpus,
}

impl LanguageModel {
    pub(super) fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The windows that a recipe evaluates on.
    pub(super) fn validation_windows(
        &self,
        recipe: &Recipe,
    ) -> Result<impl Iterator<Item = Batch>, DataError> {
        let train = &recipe.train;
        let windows = self.corpus.validation.evaluation_windows(recipe.data.context, train.batch_size)?;
        Ok(windows.take(if train.eval_batches == 0 { usize::MAX } else { train.eval_batches }))
    }
}

impl Task for LanguageModel {
    type Model = CausalLm;

    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError> {
        let former = former_tokenizer(recipe, folder, resuming)?;
        let corpus = Corpus::open(&recipe.data, former, &folder.join("cache"))?;
        recipe.resolve(Some(corpus.tokenizer.vocab_size()));
        corpus.tokenizer.save(folder.join(TOKENIZER_FILE))?;
        Ok(Self { corpus })
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<CausalLm, ModelError> {
        CausalLm::new(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<Batch, TrainError> {
        let (train, context) = (&recipe.train, recipe.data.context);
        let training = &self.corpus.training;
        Ok(training.training_batch(train.seed, step as u64, micro, train.batch_size, context)?)
    }

    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        recipe.train.batch_size * recipe.data.context
    }

    fn evaluate(&self, recipe: &Recipe, model: &CausalLm) -> Result<Score, TrainError> {
        let mut scores = TokenScores::default();
        self.validation_windows(recipe)?.for_each(|batch| scores.add(model, &batch));
        Ok(Score { loss: scores.loss(), accuracy: None })
    }
}
