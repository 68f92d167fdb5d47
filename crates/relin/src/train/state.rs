//! What resuming needs, in `state/step-N/`: written beside and renamed, checked when read, the newest good one used.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::optimizer::Optimizer;
use crate::hub::{HubError, Weights, read_weights, write_weights};
use crate::model::{NamedTensor, Network, for_each_parameter, map_parameters};
use crate::runlog::write_atomic;

const FOLDER: &str = "state";
const TENSORS: &str = "tensors.safetensors";
const PROGRESS: &str = "progress.json";
const VERSION: u64 = 1;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates made.
    pub step: usize,
    /// Best validation loss so far.
    pub best_loss: Option<f64>,
    /// Accuracy of the weights that had it, where the task counts right answers.
    #[serde(default)]
    pub best_accuracy: Option<f64>,
    /// Sum of the losses since the last report.
    pub pending_loss: f64,
    /// Number of them.
    pub pending_updates: usize,
    /// Last reported loss.
    pub train_loss: Option<f64>,
    /// Seconds spent.
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Document {
    relin_state: u64,
    /// [`crate::recipe::Recipe::fingerprint`] of the run.
    recipe: String,
    /// SHA-256 of the tensors.
    tensors: String,
    #[serde(flatten)]
    progress: Progress,
}

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Its tensors.
    #[error(transparent)]
    Tensors(#[from] HubError),
    /// Its other file.
    #[error("{}: {reason}", path.display())]
    Progress {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Saves a state, then removes all but the `keep` newest.
///
/// # Errors
/// If it cannot be written; former states then stay.
pub fn save<M: Network>(
    run: &Path,
    recipe: &str,
    progress: &Progress,
    model: &M,
    optimizer: &Optimizer,
    keep: usize,
) -> Result<(), StateError> {
    let folder = run.join(FOLDER);
    let name = format!("step-{:09}", progress.step);
    let (temporary, path) = (folder.join(format!(".{name}.tmp")), folder.join(&name));
    let unwritable = |source| StateError::Write { path: path.clone(), source };
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).map_err(unwritable)?;
    let written = write_files(&temporary, recipe, progress, model, optimizer);
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    // A state of the same step is there when a damaged newer one was passed over: it is replaced by equal bytes.
    let _ = fs::remove_dir_all(&path);
    fs::rename(&temporary, &path).map_err(unwritable)?;
    for old in states(run).into_iter().skip(keep.max(1)) {
        let _ = fs::remove_dir_all(old);
    }
    Ok(())
}

fn write_files<M: Network>(
    folder: &Path,
    recipe: &str,
    progress: &Progress,
    model: &M,
    optimizer: &Optimizer,
) -> Result<(), StateError> {
    let tensors = write_weights(&folder.join(TENSORS), tensors(model, optimizer))?;
    let document =
        Document { relin_state: VERSION, recipe: recipe.into(), tensors, progress: progress.clone() };
    let path = folder.join(PROGRESS);
    let text = serde_json::to_string_pretty(&document)
        .map_err(|e| StateError::Progress { path: path.clone(), reason: e.to_string() })?;
    Ok(write_atomic(&path, text.as_bytes()).map_err(HubError::from)?)
}

fn tensors<M: Network>(model: &M, optimizer: &Optimizer) -> Vec<NamedTensor> {
    let mut tensors = Vec::new();
    let mut at = 0;
    for_each_parameter(model, |site, data| {
        let mut push = |part: &str, data: Vec<f32>| {
            let name = format!("{part}.{}", site.name);
            tensors.push(NamedTensor { name, shape: site.shape.clone(), data });
        };
        push("weight", data);
        push("first", optimizer.first[at].clone());
        push("second", optimizer.second[at].clone());
        at += 1;
    });
    tensors
}

/// The newest good state of this recipe, and a warning for each newer one that is not.
pub fn load<M: Network>(
    run: &Path,
    recipe: &str,
    model: M,
    optimizer: &mut Optimizer,
) -> (M, Progress, Vec<String>) {
    let mut warnings = Vec::new();
    for folder in states(run) {
        match read(&folder, recipe).and_then(|(progress, weights)| {
            checked(&folder, optimizer, weights.tensors).map(|parts| (progress, parts))
        }) {
            Ok((progress, [weights, first, second])) => {
                let mut weights = weights.into_iter();
                let model = map_parameters(model, |_, former| weights.next().unwrap_or(former));
                (optimizer.first, optimizer.second) = (first, second);
                optimizer.updates = progress.step as u64;
                return (model, progress, warnings);
            }
            Err(error) => warnings.push(format!("passing over {}: {}", folder.display(), whole(&error))),
        }
    }
    (model, Progress::default(), warnings)
}

/// Seconds that a run has been trained, as its newest readable state says.
pub fn seconds_spent(run: &Path) -> f64 {
    let seconds = |state: PathBuf| {
        let text = fs::read_to_string(state.join(PROGRESS)).ok()?;
        serde_json::from_str::<Document>(&text).ok().map(|document| document.progress.seconds)
    };
    states(run).into_iter().find_map(seconds).unwrap_or(0.0)
}

fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", whole(source)),
        None => error.to_string(),
    }
}

/// Saved states, newest first.
fn states(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join(FOLDER)).into_iter().flatten().flatten();
    let mut states: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    states.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")));
    states.sort();
    states.reverse();
    states
}

fn read(folder: &Path, recipe: &str) -> Result<(Progress, Weights), StateError> {
    let path = folder.join(PROGRESS);
    let wrong = |reason: String| StateError::Progress { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
    let document: Document = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if document.relin_state != VERSION {
        return Err(wrong(format!("state version {}; this build reads {VERSION}", document.relin_state)));
    }
    if document.recipe != recipe {
        return Err(wrong("it belongs to another recipe".into()));
    }
    let weights = read_weights(&folder.join(TENSORS))?;
    if weights.hash != document.tensors {
        return Err(wrong(format!("it belongs to other tensors than {TENSORS}")));
    }
    Ok((document.progress, weights))
}

/// Weights, first and second moments in the model's order.
fn checked(
    folder: &Path,
    optimizer: &Optimizer,
    tensors: Vec<NamedTensor>,
) -> Result<[Vec<Vec<f32>>; 3], StateError> {
    let mut by_name: std::collections::HashMap<String, Vec<f32>> =
        tensors.into_iter().map(|tensor| (tensor.name, tensor.data)).collect();
    let mut part = |part: &str| {
        let take = |(site, zeros): (&crate::model::Site, &Vec<f32>)| {
            let name = format!("{part}.{}", site.name);
            let found = by_name.remove(&name).filter(|data| data.len() == zeros.len());
            found.ok_or_else(|| StateError::Progress {
                path: folder.join(TENSORS),
                reason: format!("no tensor `{name}` of {} elements", zeros.len()),
            })
        };
        optimizer.sites.iter().zip(&optimizer.first).map(take).collect::<Result<Vec<_>, _>>()
    };
    Ok([part("weight")?, part("first")?, part("second")?])
}

/// Removes every saved state of a run.
pub fn clear(run: &Path) {
    let _ = fs::remove_dir_all(run.join(FOLDER));
}
