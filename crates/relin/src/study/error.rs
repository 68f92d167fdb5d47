//! What can be wrong with a study, its folder or one of its runs.

use std::path::PathBuf;

use crate::eval::EvalError;
use crate::recipe::RecipeError;
use crate::runlog::RunlogError;
use crate::train::TrainError;

/// Why a study cannot go on. Runs that are finished stay.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// Neither a file nor a built-in study.
    #[error("no file and no built-in study is called `{name}`; did you mean `{near}`? (built in: {known})")]
    Unknown {
        /// The name given.
        name: String,
        /// The nearest built-in one.
        near: String,
        /// All built-in ones.
        known: String,
    },
    /// There is nothing to report.
    #[error("there are no results of a study in {}", folder.display())]
    NoResults {
        /// Where they should be.
        folder: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the study {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or keys or values that no study has.
    #[error("{name}, line {line}: {message}")]
    Syntax {
        /// Name of the text.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Parts that do not go together.
    #[error("{name}: {field}: {problem}")]
    Contradiction {
        /// Name of the text.
        name: String,
        /// Which part of it.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// Two axes that decide the same thing.
    #[error("{name}: axes `{first}` and `{second}` both set `{key}`; each key belongs to one axis")]
    SharedKey {
        /// Name of the text.
        name: String,
        /// One axis.
        first: String,
        /// The other.
        second: String,
        /// The key of the second that is, or lies above or below, one of the first.
        key: String,
    },
    /// A value of an axis that no recipe can have.
    #[error("{name}: axis `{axis}`, value `{value}`, key `{key}` ({cell})")]
    AxisValue {
        /// Name of the text.
        name: String,
        /// Which axis.
        axis: String,
        /// Which of its values.
        value: String,
        /// Which key it sets.
        key: String,
        /// The first cell that has it.
        cell: String,
        /// Why.
        source: Box<RecipeError>,
    },
    /// A recipe that does not hold, for no single axis' sake.
    #[error("{name}: {cell}")]
    Cell {
        /// Name of the text.
        name: String,
        /// Which cell.
        cell: String,
        /// Why.
        source: Box<RecipeError>,
    },
    /// Another process works in the folder.
    #[error("{} is being used by another relin study{}", folder.display(), pid.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Locked {
        /// Which folder.
        folder: PathBuf,
        /// Whose.
        pid: Option<u32>,
    },
    /// A line of the results that was changed, or is none.
    #[error("{}, line {line}: {problem}; results are never edited by hand: restore the line or remove it, and its run is taken up again", path.display())]
    DamagedLine {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Results of another layout.
    #[error("{}, line {line}: results of format {found}; this relin reads format {known}: choose another folder with `--out`", path.display())]
    OtherFormat {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The folder cannot be made.
    #[error("cannot create {}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A record.
    #[error(transparent)]
    Runlog(#[from] RunlogError),
    /// A run that could not even begin, or could not be recorded: no result, and most likely the same for every other run.
    #[error("the run {run} could not be made: {reason}")]
    Refused {
        /// Its name.
        run: String,
        /// Why.
        reason: String,
    },
}

impl StudyError {
    /// Whether what the user wrote is at fault, rather than the file system or a run.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::Syntax { .. }
                | Self::Contradiction { .. }
                | Self::SharedKey { .. }
                | Self::AxisValue { .. }
                | Self::Cell { .. }
        )
    }
}

/// Why one run has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Its folder.
    #[error(transparent)]
    Runlog(#[from] RunlogError),
    /// Its training, other than by diverging.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Its scores.
    #[error(transparent)]
    Eval(#[from] EvalError),
}
