//! A study as its file states it.
//!
//! ```toml
//! title = "Which basis?"
//! question = "Does the choice of P matter, and for which Λ?"
//! base = "tinyshakespeare-char"            # a recipe: a built-in one, or a file beside the study
//! seeds = [0, 1, 2]
//! baseline = { basis = "identity" }        # each cell is compared with the one that differs from it in the basis alone
//!
//! [set]                                    # keys of every run's recipe; "{seed}" stands for the seed of the run
//! train.steps = 400
//!
//! [budget]
//! seconds = 600                            # a run that takes longer is stopped, and listed as such
//!
//! [measure]
//! lengths = [64, 256, 1024]                # contexts at which every trained model is scored
//!
//! [[axis]]
//! name = "basis"
//! values = [
//!     { name = "identity", set = { "model.position.basis" = "identity" } },
//!     { name = "fourier", set = { "model.position.basis" = "fourier" } },
//! ]
//!
//! [[exclude]]                              # combinations that do not exist, and why
//! where = { basis = "fourier", family = ["orthogonal", "permutation"] }
//! because = "its P is complex"
//!
//! [size.paper]                             # `--size paper`: what replaces these keys there, each as a whole
//! base = "wikitext103-paper"
//! seeds = [0, 1, 2, 3, 4]
//! ```
//!
//! Instead of `base`, several tasks (`[[task]]`, each with `name`, `base`, and its own `set`, `lengths`, `score`, `rename`)
//! cross with all axes; scores of different tasks are never compared, their ranks are. Instead of recipes, `[[bench]]`
//! (`name` and `run`, the words after `relin bench`) makes a study of measurements, repeated for every seed. `cells` lists
//! the combinations to make, one name an axis each, where not all are wanted.

mod document;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use self::document::Document;
use self::reader::{Reader, syntax};
use super::StudyError;
use super::builtin::{BUILTIN_STUDIES, builtin};
use crate::nearest::nearest;
use crate::recipe::Override;

/// The size that a file states without `[size.…]`.
pub const SMALL: &str = "small";

/// Before the name of a study that the binary carries.
const CARRIED: &str = "built-in study ";

/// A study, its names resolved.
#[derive(Clone, Debug)]
pub struct Study {
    /// Name of its file, without ending.
    pub name: String,
    /// What errors call it: a path, or words.
    pub place: String,
    /// Which of its sizes.
    pub size: String,
    /// In a few words.
    pub title: String,
    /// What it is to answer.
    pub question: String,
    /// The file's text.
    pub text: String,
    /// Seeds of the runs of every cell, or repetitions of every measurement.
    pub seeds: Vec<u64>,
    /// Keys set in every run.
    pub settings: Vec<Override>,
    /// Seconds that one run may train.
    pub seconds: Option<f64>,
    /// What is crossed.
    pub axes: Vec<Axis>,
    /// The combinations that are made.
    pub cells: Vec<Cell>,
    /// Those that are not, and why.
    pub exclusions: Vec<Exclusion>,
    /// The recipes that are trained.
    pub tasks: Vec<StudyTask>,
    /// What cells are compared with.
    pub baseline: Option<Baseline>,
    /// Measurements.
    pub benches: Vec<Bench>,
}

/// What is crossed with the other axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// Its name.
    pub name: String,
    /// What it means for the recipe.
    pub settings: Vec<Override>,
}

/// A combination: the index of a value for every axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(pub Vec<usize>);

/// Combinations that are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// For some of the axes (or `task`), the values concerned.
    pub place: BTreeMap<String, Vec<String>>,
    /// Why.
    pub because: String,
}

/// A recipe that all cells are trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyTask {
    /// Its name.
    pub name: String,
    /// A recipe's name or path.
    pub base: String,
    /// Keys that it sets.
    pub settings: Vec<Override>,
    /// Contexts at which trained models are scored.
    pub lengths: Vec<usize>,
    /// What is compared; accuracy where there is one, if not given.
    pub score: Option<ScoreKind>,
    /// What keys of the axes are called here.
    pub rename: Vec<(String, String)>,
}

/// What cells are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreKind {
    /// Nats a target on the validation split; less is better.
    Loss,
    /// Share of right answers; more is better.
    Accuracy,
}

/// What cells are compared with: on some axes one value, on the others their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline(pub Vec<Option<usize>>);

/// A measurement by `relin bench`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Its name.
    pub name: String,
    /// The words after `relin bench`.
    pub run: String,
}

impl Study {
    /// The study of a file, or the built-in one of that name, in one of its sizes; a file wins.
    ///
    /// # Errors
    /// If there is neither, or as [`Study::parse`].
    pub fn find(name: &str, size: &str) -> Result<Self, StudyError> {
        let path = Path::new(name);
        if path.is_file() || name.contains(['/', '\\']) || path.extension().is_some_and(|e| e == "toml") {
            let unreadable = |source| StudyError::Unreadable { path: path.into(), source };
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            return Self::parse(name, &text, size, path.parent());
        }
        let Some(found) = builtin(name) else {
            let known: Vec<_> = BUILTIN_STUDIES.iter().map(|study| study.name).collect();
            let near = nearest(name, known.iter().copied()).unwrap_or_default().into();
            return Err(StudyError::Unknown { name: name.into(), near, known: known.join(", ") });
        };
        Self::parse(&format!("{CARRIED}{name}"), found.text, size, None)
    }

    /// The study that a text states; `folder` is where the recipes that it names may lie.
    ///
    /// # Errors
    /// On bad syntax, unknown keys and names, and parts that contradict each other. Recipes are checked by
    /// [`Plan::new`](super::Plan::new).
    pub fn parse(place: &str, text: &str, size: &str, folder: Option<&Path>) -> Result<Self, StudyError> {
        let reader = Reader { place, folder };
        let document: Document = toml::from_str(text).map_err(|e| syntax(place, text, &e))?;
        let document = reader.resized(text, document, size)?;
        reader.study(document, text, size)
    }

    /// The name of a cell: those of its values.
    pub fn cell_name(&self, cell: &Cell) -> String {
        self.value_names(cell).join(" · ")
    }

    /// The names of a cell's values, one an axis.
    pub fn value_names(&self, cell: &Cell) -> Vec<&str> {
        self.axes.iter().zip(&cell.0).map(|(axis, &at)| axis.values[at].name.as_str()).collect()
    }

    /// What the cell is compared with, if that is made; the baseline itself is compared with nothing.
    pub fn baseline_of(&self, cell: &Cell) -> Option<Cell> {
        let Baseline(fixed) = self.baseline.as_ref()?;
        let other = Cell(fixed.iter().zip(&cell.0).map(|(fixed, &own)| fixed.unwrap_or(own)).collect());
        (other != *cell && self.cells.contains(&other)).then_some(other)
    }

    /// Whether others are compared with the cell.
    pub fn is_baseline(&self, cell: &Cell) -> bool {
        self.baseline.as_ref().is_some_and(|Baseline(fixed)| {
            fixed.iter().zip(&cell.0).all(|(fixed, own)| fixed.is_none_or(|fixed| fixed == *own))
        })
    }

    /// Why a cell is not made on a task, if it is not.
    pub fn excluded(&self, task: &str, cell: &Cell) -> Option<&str> {
        let names = self.value_names(cell);
        let concerns = |exclusion: &&Exclusion| {
            exclusion.place.iter().all(|(axis, values)| {
                let own = match self.axes.iter().position(|known| known.name == *axis) {
                    Some(at) => names[at],
                    None => task,
                };
                values.iter().any(|value| value == own)
            })
        };
        self.exclusions.iter().find(concerns).map(|exclusion| exclusion.because.as_str())
    }
}
