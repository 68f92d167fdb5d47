//! Scores of a trained classifier.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use super::{EvalError, Watch};
use crate::data::{
    Answers, DataError, ImageSplit, Images, Labelled, LabelledImages, LabelledTexts, ListOps, Part,
    Pathfinder, Texts, UNLABELLED,
};
use crate::hub::{Loaded, load_network, load_tokenizer};
use crate::model::Classifier;
use crate::recipe::{Recipe, Task};
use crate::runlog::write_atomic;
use crate::tasks::classification::{image_folder, images, labelled, texts};
use crate::tasks::{ClassScores, classify};

/// What to score a classifier on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassOptions {
    /// Other data than the run's own: a table of texts, a folder of images.
    pub data: Option<PathBuf>,
    /// `validation` (the default) or `training`; of images also `test`, which is the default of other data, and of made
    /// examples. Of other texts, expressions and contours there is only `all`.
    pub split: Option<String>,
    /// Where to write what was chosen for each example: its number in the split, its class, the chosen class, and the
    /// chosen one's probability, in columns.
    pub predictions: Option<PathBuf>,
    /// Pass over bad rows of tables, as a recipe's `data.skip_bad_rows` does.
    pub skip_bad_rows: bool,
}

/// Scores of a classifier, over the examples whose class is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "eval")]
pub struct ClassEvaluation {
    /// Which part of the data.
    pub split: String,
    /// Nats an example.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// Matthews' correlation coefficient.
    pub matthews: f64,
    /// Examples; where there is none, scores have no value.
    pub examples: usize,
    /// Examples without a class, of which there are only predictions.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unlabelled: usize,
    /// Each class by itself.
    pub classes: Vec<ClassResult>,
    /// `[true class][chosen class]`, in the order of `classes`.
    pub confusion: Vec<Vec<usize>>,
    /// What the user should know of the data, such as rows that were skipped.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// One class by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassResult {
    /// Its name.
    pub label: String,
    /// Examples of it.
    pub examples: usize,
    /// Share of those chosen as it that are it.
    pub precision: f64,
    /// Share of it that was chosen as it.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// Scores a run of a classifier.
///
/// # Errors
/// If the run or the data cannot be read, or there is no such part of the data.
pub fn evaluate_classes(
    run: &Path,
    options: &ClassOptions,
    watch: &mut Watch,
) -> Result<ClassEvaluation, EvalError> {
    let mut loaded = load_network(run, |config| Classifier::new(config, 0, &Device::flex()))?;
    loaded.recipe.data.skip_bad_rows |= options.skip_bad_rows;
    match loaded.recipe.task {
        Task::ImageClassification => {
            let (split, examples) = image_split(&loaded.recipe, options)?;
            score(&loaded, split, &examples, options, watch)
        }
        Task::ListOps => {
            let (data, seed) = (&loaded.recipe.data, loaded.recipe.train.seed);
            let open = |part| ListOps::open(data, seed, part);
            let (split, examples) = made_split(options, open, |path| ListOps::read(path, data))?;
            score(&loaded, split, &examples, options, watch)
        }
        Task::Pathfinder => {
            let recipe = &loaded.recipe;
            let read = |folder: &Path| Pathfinder::read(folder, recipe, None);
            let (split, examples) = made_split(options, |part| Pathfinder::open(recipe, part), read)?;
            score(&loaded, split, &examples, options, watch)
        }
        _ => {
            let (split, texts) = text_split(&loaded.recipe, options)?;
            let tokenizer = load_tokenizer(run, &loaded.config, loaded.recipe.own_tokens())?;
            let labels = loaded.config.labels.clone().unwrap_or_default();
            let (context, pair) = (loaded.recipe.data.context, loaded.config.pair);
            let examples: LabelledTexts =
                texts.encode(&tokenizer, Answers::Classes(&labels), context, pair)?;
            score(&loaded, split, &examples, options, watch)
        }
    }
}

pub(super) fn text_split(recipe: &Recipe, options: &ClassOptions) -> Result<(String, Texts), EvalError> {
    if let Some(path) = &options.data {
        let split = options.split.clone().unwrap_or_else(|| "all".into());
        if split != "all" {
            return Err(EvalError::Split { found: split, known: "`all` of --data" });
        }
        return Ok((split, Texts::open_unlabelled(&[path.display().to_string()], &recipe.data)?));
    }
    let (training, validation) = texts(recipe)?;
    let split = options.split.clone().unwrap_or_else(|| "validation".into());
    match split.as_str() {
        "validation" => Ok((split, validation)),
        "training" => Ok((split, training)),
        _ => Err(EvalError::Split { found: split, known: "`training` and `validation`" }),
    }
}

fn image_split(recipe: &Recipe, options: &ClassOptions) -> Result<(String, LabelledImages), EvalError> {
    let mut recipe = recipe.clone();
    if let Some(path) = &options.data {
        recipe.data.source.0 = vec![path.display().to_string()];
    }
    let usual = if options.data.is_some() { "test" } else { "validation" };
    let split = options.split.clone().unwrap_or_else(|| usual.into());
    let images = match split.as_str() {
        "test" => Images::open(image_folder(&recipe)?, ImageSplit::Test, &recipe.data)?,
        "validation" => images(&recipe)?.1,
        "training" => images(&recipe)?.0,
        _ => return Err(EvalError::Split { found: split, known: "`training`, `validation` and `test`" }),
    };
    let name = recipe.data.source.0.join(", ");
    let classes = recipe.model.labels.clone().unwrap_or_default();
    let images = images.suited_to(&name, &classes, recipe.model.num_channels.unwrap_or(1))?;
    Ok((split, labelled(&recipe, images)?))
}

/// A part of examples that are made, or all of those at another place.
fn made_split<L>(
    options: &ClassOptions,
    open: impl FnOnce(Part) -> Result<L, DataError>,
    read: impl FnOnce(&Path) -> Result<L, DataError>,
) -> Result<(String, L), EvalError> {
    let Some(path) = &options.data else {
        let split = options.split.clone().unwrap_or_else(|| "validation".into());
        let known = "`training`, `validation` and `test`";
        let part = Part::named(&split).ok_or(EvalError::Split { found: split.clone(), known })?;
        return Ok((split, open(part)?));
    };
    match options.split.as_deref() {
        None | Some("all") => Ok(("all".into(), read(path)?)),
        Some(found) => Err(EvalError::Split { found: found.into(), known: "`all` of --data" }),
    }
}

fn score<L: Labelled>(
    loaded: &Loaded<Classifier>,
    split: String,
    examples: &L,
    options: &ClassOptions,
    watch: &mut Watch,
) -> Result<ClassEvaluation, EvalError> {
    let labels = loaded.config.labels.clone().unwrap_or_default();
    let truth = |at: usize| examples.label(at) as usize;
    let is_known = |at: usize| examples.label(at) != UNLABELLED;
    // A class that was never trained has no row of scores.
    if let Some(at) = (0..examples.len()).find(|&at| is_known(at) && truth(at) >= labels.len()) {
        let reason = format!("example {at} is of class {}, but {} were trained", truth(at), labels.len());
        return Err(EvalError::Data(DataError::Examples { name: split, reason }));
    }
    let unlabelled = (0..examples.len()).filter(|&at| !is_known(at)).count();
    if unlabelled == examples.len() && options.predictions.is_none() {
        return Err(EvalError::NoLabels {
            column: loaded.recipe.data.label_column.clone(),
            examples: unlabelled,
        });
    }
    let mut table = String::from("example\tlabel\tprediction\tprobability\n");
    let scores = classify(&loaded.model, examples, |at, chosen, probability| {
        let class = if is_known(at) { labels[truth(at)].as_str() } else { "" };
        let row = format!("{at}\t{class}\t{}\t{probability:.6}\n", labels[chosen]);
        table.push_str(&row);
        watch(at + 1, examples.len());
    });
    if let Some(path) = &options.predictions {
        write_atomic(path, table.as_bytes())?;
    }
    Ok(ClassEvaluation { unlabelled, warning: examples.warning(), ..report(split, &labels, scores) })
}

fn report(split: String, labels: &[String], scores: ClassScores) -> ClassEvaluation {
    let class = |(at, label): (usize, &String)| {
        let (precision, recall) = scores.precision_and_recall(at);
        let examples = scores.confusion[at].iter().sum();
        ClassResult { label: label.clone(), examples, precision, recall, f1: scores.f1(at) }
    };
    ClassEvaluation {
        split,
        loss: scores.loss(),
        accuracy: scores.accuracy(),
        macro_f1: scores.macro_f1(),
        matthews: scores.matthews(),
        examples: scores.examples(),
        unlabelled: 0,
        classes: labels.iter().enumerate().map(class).collect(),
        confusion: scores.confusion,
        warning: None,
    }
}
