//! `sequence-to-sequence`: a text from another text, such as its translation.

use std::path::Path;

use burn::tensor::Device;

use super::classification::train_tokenizer;
use super::token_scores::argmax;
use super::{Score, Task, former_tokenizer};
use crate::data::{ParallelBatch, ParallelTexts, ParallelTokens, batch_indices};
use crate::hub::TOKENIZER_FILE;
use crate::model::{ModelError, Seq2Seq};
use crate::ops::{self, IGNORE};
use crate::recipe::Recipe;
use crate::runlog::RECIPE_FILE;
use crate::train::TrainError;

/// Pairs to train and to validate on.
#[derive(Debug)]
pub struct SequenceToSequence {
    training: ParallelTokens,
    validation: ParallelTokens,
    warnings: Vec<String>,
}

impl Task for SequenceToSequence {
    type Model = Seq2Seq;

    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError> {
        if resuming {
            let former = Recipe::read(&folder.join(RECIPE_FILE), &[])?;
            recipe.data.skip_bad_rows |= former.data.skip_bad_rows;
        }
        let (training, validation) = ParallelTexts::of_recipe(recipe)?;
        let path = folder.join(TOKENIZER_FILE);
        let tokenizer = match former_tokenizer(recipe, folder, resuming)? {
            Some(former) => former,
            None => train_tokenizer(recipe, || training.joined(), folder)?,
        };
        tokenizer.save(&path)?;
        let warnings =
            [&training, &validation].into_iter().filter_map(|texts| texts.skipped().warning()).collect();
        let encode = |texts: &ParallelTexts| texts.encode(&tokenizer, recipe.data.context);
        let (training, validation) = (encode(&training)?, encode(&validation)?);
        recipe.resolve(Some(tokenizer.vocab_size() + recipe.own_tokens()));
        Ok(Self { training, validation, warnings })
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<Seq2Seq, ModelError> {
        Seq2Seq::new(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<ParallelBatch, TrainError> {
        let train = &recipe.train;
        let batch = ((step - 1) * train.gradient_accumulation + micro) as u64;
        Ok(self.training.batch(&batch_indices(self.training.len(), train.seed, batch, train.batch_size)))
    }

    /// Of targets, on average: lengths differ.
    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        recipe.train.batch_size * self.training.targets() / self.training.len()
    }

    /// The accuracy is the share of targets that are right from their first token to their end. Where each next token is the
    /// likeliest after those before it, greedy writing gives that target, so none need be written to know it.
    fn evaluate(&self, recipe: &Recipe, model: &Seq2Seq) -> Result<Score, TrainError> {
        let batches = if recipe.train.eval_batches == 0 { usize::MAX } else { recipe.train.eval_batches };
        let pairs = batches.saturating_mul(AT_ONCE).min(self.validation.len());
        let scores = score_targets(model, &self.validation, pairs);
        Ok(Score { loss: scores.loss(), accuracy: Some(scores.exact as f64 / pairs as f64) })
    }
}

/// Pairs scored at once.
const AT_ONCE: usize = 64;

/// Sums over targets, each token of which is asked for after the right ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TargetScores {
    /// Of the losses, in nats.
    pub nats: f64,
    /// Tokens that were the likeliest.
    pub right: usize,
    /// Tokens, ends included.
    pub tokens: usize,
    /// Targets of which every token was the likeliest.
    pub exact: usize,
}

impl TargetScores {
    /// Mean loss, nats a token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// Share of tokens that were the likeliest.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.tokens as f64
    }
}

/// Scores the first `count` pairs.
pub fn score_targets(model: &Seq2Seq, pairs: &ParallelTokens, count: usize) -> TargetScores {
    let mut scores = TargetScores::default();
    let all: Vec<usize> = (0..count.min(pairs.len())).collect();
    for indices in all.chunks(AT_ONCE) {
        let ParallelBatch { sources, inputs, targets } = pairs.batch(indices);
        let logits = model.logits(&sources, &inputs);
        let losses = ops::token_losses(logits.clone(), &targets);
        let logits = ops::to_vec(logits);
        let choices: Vec<u32> = logits.chunks(model.vocabulary()).map(|row| argmax(row) as u32).collect();
        let rows = targets.chunks(inputs.length).zip(choices.chunks(inputs.length));
        for ((targets, choices), losses) in rows.zip(losses.chunks(inputs.length)) {
            let tokens = targets.iter().filter(|&&target| target != IGNORE).count();
            let right = targets.iter().zip(choices).filter(|(target, choice)| target == choice).count();
            scores.nats += losses[..tokens].iter().map(|&loss| f64::from(loss)).sum::<f64>();
            scores.right += right;
            scores.tokens += tokens;
            scores.exact += usize::from(right == tokens);
        }
    }
    scores
}
