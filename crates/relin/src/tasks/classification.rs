//! `text-classification` and `image-classification`: one class for each example, from an encoder that sees all of it; and
//! `text-regression`: one number.

use std::path::Path;

use burn::tensor::Device;
use relin_kernels::rng::Rng;

use super::token_scores::argmax;
use super::{ClassScores, Score, Task, former_tokenizer, regress};
use crate::data::{
    Answers, DataError, Examples, GREY_VALUES, ImageSplit, Images, Labelled, LabelledImages, LabelledTexts,
    TextSource, Texts, UNLABELLED, batch_indices, hold_out,
};
use crate::hub::TOKENIZER_FILE;
use crate::model::{Classifier, ModelError};
use crate::ops;
use crate::recipe::{self, Pixels, Recipe};
use crate::runlog::RECIPE_FILE;
use crate::tokenizer::{Tokenizer, TokenizerKind};
use crate::train::TrainError;

/// Examples to train and to validate on.
#[derive(Debug)]
pub struct Classification<L> {
    training: L,
    validation: L,
}

/// Examples that a recipe can name.
pub trait Open: Labelled + Sized {
    /// Those to train and to validate on; fills into the recipe what follows from them, and writes to the folder what
    /// using the model will need of them.
    ///
    /// # Errors
    /// If the data cannot be read or does not suit the recipe.
    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<(Self, Self), TrainError>;
}

impl Open for LabelledTexts {
    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<(Self, Self), TrainError> {
        if resuming {
            let former = Recipe::read(&folder.join(RECIPE_FILE), &[])?;
            recipe.data.skip_bad_rows |= former.data.skip_bad_rows;
        }
        let data = &recipe.data;
        let (training, validation) = texts(recipe)?;
        let path = folder.join(TOKENIZER_FILE);
        let tokenizer = match former_tokenizer(recipe, folder, resuming)? {
            Some(former) => former,
            None => train_tokenizer(recipe, || training.joined(), folder)?,
        };
        tokenizer.save(&path)?;
        let labels = training.labels();
        let numbers = recipe.task == recipe::Task::TextRegression;
        let standard = numbers.then(|| training.standard()).transpose()?;
        let answers = standard.map_or(Answers::Classes(&labels), Answers::Numbers);
        let encode = |texts: &Texts| texts.encode(&tokenizer, answers, data.context, recipe.model.pair);
        let encoded = (encode(&training)?, encode(&validation)?);
        recipe.model.target = standard;
        recipe.model.labels = (!numbers).then_some(labels);
        recipe.resolve(Some(tokenizer.vocab_size() + recipe.own_tokens()));
        Ok(encoded)
    }
}

/// The texts to train and to validate on.
pub(crate) fn texts(recipe: &Recipe) -> Result<(Texts, Texts), DataError> {
    let data = &recipe.data;
    let all = Texts::open(&data.source.0, data)?;
    if let Some(validation) = &data.validation_source {
        return Ok((all, Texts::open(&validation.0, data)?));
    }
    let (kept, held) = hold_out(all.len(), data.validation, recipe.train.seed, &data.source.0.join(", "))?;
    Ok(all.split(&kept, &held))
}

/// On the texts that are trained on, and no others.
pub(super) fn train_tokenizer<T: AsRef<[u8]>>(
    recipe: &Recipe,
    joined: impl FnOnce() -> T,
    folder: &Path,
) -> Result<Tokenizer, TrainError> {
    let kind = recipe.data.tokenizer_kind();
    if matches!(kind, TokenizerKind::Byte | TokenizerKind::File(_)) {
        return Ok(Tokenizer::train(&kind, &TextSource::carried("no text", ""))?);
    }
    let cache = folder.join("cache");
    let path = cache.join("texts.txt");
    let io = |source| DataError::Io { action: "write", path: path.clone(), source };
    std::fs::create_dir_all(&cache).map_err(io)?;
    std::fs::write(&path, joined()).map_err(io)?;
    let source = TextSource::open(&path.to_string_lossy())?;
    Ok(Tokenizer::train(&kind, &source)?)
}

impl Open for LabelledImages {
    fn open(recipe: &mut Recipe, _folder: &Path, _resuming: bool) -> Result<(Self, Self), TrainError> {
        let (training, validation) = images(recipe)?;
        let model = &mut recipe.model;
        model.labels = Some(training.classes().to_vec());
        model.num_channels = Some(training.size().channels);
        if recipe.data.normalize {
            let (mean, deviation) = training.statistics();
            (model.image_mean, model.image_std) = (Some(mean), Some(deviation));
        }
        let tokens = recipe.model.pixels == Pixels::Tokens;
        recipe.resolve(tokens.then_some(GREY_VALUES));
        Ok((labelled(recipe, training)?, labelled(recipe, validation)?))
    }
}

/// The images to train and to validate on: those that the folder keeps apart, or else a share of the former.
pub(crate) fn images(recipe: &Recipe) -> Result<(Images, Images), DataError> {
    let (folder, data) = (image_folder(recipe)?, &recipe.data);
    let all = Images::open(folder, ImageSplit::Training, data)?;
    if Images::has_validation(folder) {
        let validation = Images::open(folder, ImageSplit::Validation, data)?;
        let (name, channels) = (folder.display().to_string(), all.size().channels);
        let validation = validation.suited_to(&name, all.classes(), channels)?;
        return Ok((all, validation));
    }
    let name = data.source.0.join(", ");
    let (kept, held) = hold_out(all.len(), data.validation, recipe.train.seed, &name)?;
    Ok((all.subset(&kept), all.subset(&held)))
}

/// The one folder that images come from.
pub(crate) fn image_folder(recipe: &Recipe) -> Result<&Path, DataError> {
    match &recipe.data.source.0[..] {
        [folder] => Ok(Path::new(folder)),
        several => {
            let reason = format!("images come from one folder, not from {}", several.len());
            Err(DataError::Examples { name: "data.source".into(), reason })
        }
    }
}

/// Images as a recipe's model takes them.
pub(crate) fn labelled(recipe: &Recipe, images: Images) -> Result<LabelledImages, DataError> {
    let folder = image_folder(recipe)?;
    LabelledImages::for_recipe(images, recipe, &folder.display().to_string())
}

impl<L: Open> Task for Classification<L> {
    type Model = Classifier;

    fn open(recipe: &mut Recipe, folder: &Path, resuming: bool) -> Result<Self, TrainError> {
        let (training, validation) = L::open(recipe, folder, resuming)?;
        Ok(Self { training, validation })
    }

    fn warnings(&self) -> Vec<String> {
        [self.training.warning(), self.validation.warning()].into_iter().flatten().collect()
    }

    fn model(recipe: &Recipe, device: &Device) -> Result<Classifier, ModelError> {
        Classifier::new(&recipe.model, recipe.train.seed, device)
    }

    fn batch(&self, recipe: &Recipe, step: usize, micro: usize) -> Result<Examples, TrainError> {
        let train = &recipe.train;
        let batch = ((step - 1) * train.gradient_accumulation + micro) as u64;
        let indices = batch_indices(self.training.len(), train.seed, batch, train.batch_size);
        Ok(self.training.batch(&indices, Some(Rng::new(train.seed, AUGMENT ^ batch))))
    }

    /// On average: lengths differ.
    fn tokens_per_batch(&self, recipe: &Recipe) -> usize {
        recipe.train.batch_size * self.training.tokens() / self.training.len()
    }

    fn evaluate(&self, recipe: &Recipe, model: &Classifier) -> Result<Score, TrainError> {
        if recipe.model.target.is_some() {
            let scores = regress(model, &self.validation, |_, _, _| {});
            return Ok(Score { loss: scores.loss(), accuracy: None });
        }
        let scores = classify(model, &self.validation, |_, _, _| {});
        Ok(Score { loss: scores.loss(), accuracy: Some(scores.accuracy()) })
    }
}

/// The stream of random numbers that varies images.
const AUGMENT: u64 = u64::from_le_bytes(*b"augment\0");
/// Examples scored at once.
pub(super) const AT_ONCE: usize = 64;

/// Scores all examples whose class is known; `each` is told the number of an example, the class that was chosen, and its probability.
pub fn classify<L: Labelled>(
    model: &Classifier,
    examples: &L,
    mut each: impl FnMut(usize, usize, f64),
) -> ClassScores {
    let classes = model.classes();
    let mut scores = ClassScores::new(classes);
    let all: Vec<usize> = (0..examples.len()).collect();
    for indices in all.chunks(AT_ONCE) {
        let batch = examples.batch(indices, None);
        let logits = model.logits(&batch);
        let losses = ops::token_losses(logits.clone(), &batch.labels);
        for (((&at, row), &label), &loss) in
            indices.iter().zip(ops::to_vec(logits).chunks(classes)).zip(&batch.labels).zip(&losses)
        {
            let chosen = argmax(row);
            let sum: f64 = row.iter().map(|&x| f64::from(x - row[chosen]).exp()).sum();
            if label != UNLABELLED {
                scores.add(label as usize, chosen, f64::from(loss));
            }
            each(at, chosen, 1.0 / sum);
        }
    }
    scores
}
