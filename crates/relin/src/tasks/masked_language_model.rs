//! `masked-lm`: tell tokens that were masked from all others of a text.

use std::path::Path;

use burn::tensor::Device;
use relin_kernels::rng::Rng;

use super::{LanguageModel, Score, Task, TokenScores};
use crate::data::Batch;
use crate::model::{MaskedLm, ModelError};
use crate::ops::IGNORE;
use crate::recipe::Recipe;
use crate::tokenizer::Tokenizer;
use crate::train::TrainError;

/// A text and its tokenizer. The mask is the token after the tokenizer's last.
#[derive(Debug)]
pub struct MaskedLanguageModel {
    text: LanguageModel,
    masking: Masking,
}

/// Which tokens are asked for, and what stands in their place: of those asked for, 8 in 10 are masked, 1 in 10 is another
/// token, 1 in 10 itself. They are drawn anew for every batch.
///
/// # Reference
/// BERT (arXiv 1810.04805), section 3.1; masks drawn anew: RoBERTa (arXiv 1907.11692), section 4.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masking {
    /// Tokens of the tokenizer, and the mask's number.
    pub vocab: usize,
    /// Share of tokens that are asked for.
    pub share: f64,
}

/// The streams of random numbers of masks to train on, and of those to score.
const TRAINING: u64 = u64::from_le_bytes(*b"masks-tr");
const HELD_OUT: u64 = u64::from_le_bytes(*b"masks-ev");

impl Masking {
    /// That of a recipe, for a tokenizer.
    pub fn new(recipe: &Recipe, tokenizer: &Tokenizer) -> Self {
        Self { vocab: tokenizer.vocab_size(), share: recipe.data.mask_share }
    }

    /// The windows of an evaluation, each with masks that depend on its number alone.
    pub fn held_out(self, windows: impl Iterator<Item = Batch>) -> impl Iterator<Item = Batch> {
        windows.enumerate().map(move |(at, batch)| self.apply(batch, Rng::new(at as u64, HELD_OUT)))
    }

    fn apply(self, batch: Batch, rng: Rng) -> Batch {
        let Batch { mut inputs, mut targets, rows, length, segments } = batch;
        for (at, (input, target)) in inputs.iter_mut().zip(&mut targets).enumerate() {
            let draw = |which: u64| rng.uniform(4 * at as u64 + which);
            *target = IGNORE;
            if draw(0) >= self.share {
                continue;
            }
            *target = *input;
            match draw(1) {
                x if x < 0.8 => *input = self.vocab as u32,
                x if x < 0.9 => *input = rng.below(4 * at as u64 + 2, self.vocab as u64) as u32,
                _ => {}
            }
        }
        // A batch without a target teaches nothing, and its mean loss is none.
        if targets.iter().all(|&target| target == IGNORE) {
            let at = rng.below(u64::MAX, inputs.len() as u64) as usize;
            (targets[at], inputs[at]) = (inputs[at], self.vocab as u32);
        }
        Batch { inputs, targets, rows, length, segments }
    }
}

impl Task for MaskedLanguageModel {
    type Model = MaskedLm;

    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError> {
        let text = LanguageModel::open(recipe, folder, resuming)?;
        let masking = Masking::new(recipe, &text.corpus().tokenizer);
        recipe.resolve(Some(masking.vocab + recipe.own_tokens()));
        Ok(Self { text, masking })
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<MaskedLm, ModelError> {
        MaskedLm::new(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<Batch, TrainError> {
        let number = (step - 1) * recipe.train.gradient_accumulation + micro;
        let rng = Rng::new(Rng::new(recipe.train.seed, TRAINING).word(number as u64), TRAINING);
        Ok(self.masking.apply(self.text.batch(recipe, step, micro)?, rng))
    }

    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        self.text.tokens_per_batch(recipe)
    }

    fn evaluate(&self, recipe: &Recipe, model: &MaskedLm) -> Result<Score, TrainError> {
        let mut scores = TokenScores::default();
        let windows = self.text.validation_windows(recipe)?;
        self.masking.held_out(windows).for_each(|batch| scores.add(model, &batch));
        Ok(Score { loss: scores.loss(), accuracy: Some(scores.accuracy()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKING: Masking = Masking { vocab: 100, share: 0.15 };

    fn text(length: usize) -> Batch {
        let inputs: Vec<u32> = (0..length as u32).map(|at| at % 100).collect();
        Batch { targets: vec![7; length], inputs, rows: 1, length, segments: None }
    }

    #[test]
    fn what_is_asked_for_is_what_stood_there_and_is_mostly_masked() {
        let plain = text(20_000);
        let masked = MASKING.apply(plain.clone(), Rng::new(1, 2));
        let [mut asked, mut hidden, mut other] = [0; 3];
        for ((&was, &is), &target) in plain.inputs.iter().zip(&masked.inputs).zip(&masked.targets) {
            if target == IGNORE {
                assert_eq!(is, was);
                continue;
            }
            assert_eq!(target, was);
            asked += 1;
            hidden += usize::from(is == 100);
            other += usize::from(is != 100 && is != was);
        }
        // Five deviations of binomials of these shares.
        assert!((2_750..3_250).contains(&asked), "{asked} asked for");
        assert!((0.76..0.84).contains(&(hidden as f64 / asked as f64)), "{hidden} of {asked} masked");
        assert!((0.07..0.13).contains(&(other as f64 / asked as f64)), "{other} of {asked} replaced");
    }

    #[test]
    fn masks_are_a_function_of_their_random_numbers_and_never_none() {
        let masked = |seed| MASKING.apply(text(64), Rng::new(seed, 0));
        assert_eq!(masked(3), masked(3));
        assert_ne!(masked(3), masked(4));
        for seed in 0..100 {
            let short = MASKING.apply(text(2), Rng::new(seed, 0));
            assert!(short.targets.iter().any(|&target| target != IGNORE), "seed {seed}");
        }
    }
}
