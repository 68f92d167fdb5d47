//! The records of a run: `metrics.jsonl`, TensorBoard event files, and files that are never half written.

mod atomic;
mod crc32c;
mod metrics;
mod standing;
mod tensorboard;

use std::path::PathBuf;

pub use atomic::write_atomic;
pub use crc32c::{crc32c, masked};
pub use metrics::{METRICS_FILE, MetricsLog, read_metrics};
pub use standing::{RECIPE_FILE, Resume, Standing, standing};
pub use tensorboard::TensorBoard;

use crate::recipe::RecipeError;

/// Why a record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunlogError {
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the metrics is damaged, and it is not the last.
    #[error("{}, line {line} is not a record of a run", path.display())]
    BadLine {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// The folder's own recipe cannot be read.
    #[error("{} holds a run whose recipe cannot be read", folder.display())]
    UnreadableRun {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: RecipeError,
    },
    /// The folder holds another recipe's run.
    #[error(
        "{} holds {state} run of another recipe; choose another folder with `--out`{remedy} (what differs, there and here: {differences})",
        folder.display()
    )]
    OtherRecipe {
        /// Which folder.
        folder: PathBuf,
        /// `a finished` or `an unfinished`.
        state: &'static str,
        /// What else could be done.
        remedy: &'static str,
        /// The keys that differ, with both values.
        differences: String,
    },
}
