//! `music`: predict the next token of a piece of music.

use std::path::Path;

use burn::tensor::Device;

use super::{Score, Task, TokenScores};
use crate::data::music::{Music, Pieces, VOCABULARY_FILE};
use crate::data::{Batch, DataError};
use crate::hub::load_vocabulary;
use crate::model::{CausalLm, ModelError, TokenModel};
use crate::ops::{self, IGNORE};
use crate::recipe::Recipe;
use crate::runlog::write_atomic;
use crate::train::TrainError;

/// Pieces and their vocabulary.
#[derive(Debug)]
pub struct MusicModel {
    music: Music,
}

impl Task for MusicModel {
    type Model = CausalLm;

    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError> {
        let path = folder.join(VOCABULARY_FILE);
        let known = (resuming && path.is_file()).then(|| load_vocabulary(folder)).transpose()?;
        let music = Music::open(&recipe.data, recipe.train.seed, known)?;
        recipe.resolve(Some(music.vocabulary.size()));
        write_atomic(&path, music.vocabulary.document().as_bytes())?;
        Ok(Self { music })
    }

    fn warnings(&self) -> Vec<String> {
        self.music.report.warning().into_iter().collect()
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<CausalLm, ModelError> {
        CausalLm::new(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<Batch, TrainError> {
        let (train, Music { vocabulary, training, .. }) = (&recipe.train, &self.music);
        let first = ((step - 1) * train.gradient_accumulation + micro) * train.batch_size;
        let shape = [train.batch_size, recipe.data.context];
        Ok(training.training_batch(vocabulary, &recipe.data.music, (train.seed, first as u64), shape))
    }

    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        recipe.train.batch_size * recipe.data.context
    }

    /// On whole pieces, each token after all that stand before it in its piece, or in the windows that the recipe names.
    fn evaluate(&self, recipe: &Recipe, model: &CausalLm) -> Result<Score, TrainError> {
        let train = &recipe.train;
        let batches = if train.eval_batches == 0 { usize::MAX } else { train.eval_batches };
        let budget = train.batch_size * recipe.data.context;
        let validation = &self.music.validation;
        let window = recipe.data.music.validation_context.unwrap_or(LONGEST_PART).min(LONGEST_PART);
        let scores = PlacedScores::of(model, within(window, validation, model, budget).take(batches));
        if scores.total.targets == 0 {
            let (name, reason) = ("the validation pieces".into(), "there are no tokens in them".into());
            return Err(DataError::Examples { name, reason }.into());
        }
        Ok(Score { loss: scores.total.loss(), accuracy: Some(scores.total.accuracy()) })
    }
}

/// Longer pieces are scored in parts: the logits of a part are in memory at once.
pub const LONGEST_PART: usize = 1 << 15;

/// Whole pieces, as far as the model's positions reach, about `budget` tokens at a time.
pub fn whole<'a>(pieces: &'a Pieces, model: &CausalLm, budget: usize) -> impl Iterator<Item = Batch> + 'a {
    within(LONGEST_PART, pieces, model, budget)
}

fn within<'a>(
    window: usize,
    pieces: &'a Pieces,
    model: &CausalLm,
    budget: usize,
) -> impl Iterator<Item = Batch> + 'a {
    pieces.windows(model.max_positions().map_or(window, |most| most.min(window)), budget)
}

/// Tokens of a bucket of positions.
pub const BUCKET: usize = 128;

/// Sums over targets, all together and by how many tokens the model had seen before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlacedScores {
    /// All.
    pub total: TokenScores,
    /// Those at positions 0 … 127, 128 … 255 and so on.
    pub buckets: Vec<TokenScores>,
}

impl PlacedScores {
    /// Of batches of segments.
    pub fn of(model: &CausalLm, batches: impl Iterator<Item = Batch>) -> Self {
        let mut scores = Self::default();
        batches.for_each(|batch| scores.add(model, &batch));
        scores
    }

    fn add(&mut self, model: &CausalLm, batch: &Batch) {
        let logits = model.scores(batch);
        let [_, vocab] = logits.dims();
        let losses = ops::token_losses(logits.clone(), &batch.targets);
        let logits = ops::to_vec(logits);
        for segment in batch.segments.iter().flatten() {
            for (position, at) in segment.tokens().enumerate() {
                let target = batch.targets[at];
                if target == IGNORE {
                    continue;
                }
                let right = super::token_scores::argmax(&logits[at * vocab..][..vocab]) == target as usize;
                let one = TokenScores { nats: losses[at].into(), right: right.into(), targets: 1 };
                let bucket = position / BUCKET;
                if self.buckets.len() <= bucket {
                    self.buckets.resize(bucket + 1, TokenScores::default());
                }
                self.total.join(one);
                self.buckets[bucket].join(one);
            }
        }
    }
}
