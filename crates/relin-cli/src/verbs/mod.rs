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

/// Only tables of texts have rows to skip.
fn check_skipping(task: Task) -> Result<(), Failure> {
    if task == Task::TextClassification {
        return Ok(());
    }
    let expected = "task = \"text-classification\"";
    Err(Failure::BadOption { option: "--skip-bad-rows", expected, found: format!("{task:?}") })
}
