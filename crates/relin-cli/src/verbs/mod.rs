//! The verbs, one file each.

pub mod bench;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod study;
pub mod train;

use std::path::{Path, PathBuf};

use relin::recipe::Task;

use crate::failure::Failure;

/// A folder that holds a trained model.
fn run_folder(path: &Path) -> Result<PathBuf, Failure> {
    let missing = ["config.json", "model.safetensors"].into_iter().find(|name| !path.join(name).is_file());
    match missing {
        Some(missing) => Err(Failure::NotARun { path: path.into(), missing }),
        None => Ok(path.into()),
    }
}

/// Options, with what was given for them, that mean nothing here.
fn refuse<const N: usize>(
    expected: &'static str,
    options: [(&'static str, Option<String>); N],
) -> Result<(), Failure> {
    match options.into_iter().find_map(|(option, found)| Some((option, found?))) {
        Some((option, found)) => Err(Failure::BadOption { option, expected, found }),
        None => Ok(()),
    }
}

/// A path that was given for an option.
fn shown(path: &Option<PathBuf>) -> Option<String> {
    path.as_ref().map(|path| path.display().to_string())
}

/// Only tables of texts have rows to skip.
fn check_skipping(task: Task) -> Result<(), Failure> {
    if matches!(task, Task::TextClassification | Task::TextRegression | Task::SequenceToSequence) {
        return Ok(());
    }
    let expected = "task = \"text-classification\", \"text-regression\" or \"sequence-to-sequence\"";
    Err(Failure::BadOption { option: "--skip-bad-rows", expected, found: format!("{task:?}") })
}
