//! Studies: many runs that differ in what is asked about, and what can be said of them.
//!
//! A [`Study`] is a file: axes to cross, seeds, tasks. A [`Plan`] is its list of runs, each with a recipe that was checked
//! before anything trains. A [`StudyFolder`] makes what is missing through a [`Launcher`] and records it in
//! `results.jsonl` ([`Ledger`]); [`Analysis`] says what the results say, and no more.

mod analysis;
mod builtin;
mod definition;
mod error;
mod ledger;
mod lock;
mod plan;
mod runner;
mod scaling;
mod settings;
pub mod statistics;
mod trial;

pub use analysis::{
    Analysis, Answer, AtContext, AxisEffect, CellResult, Comparison, Failure, RankTable, TaskResult,
};
pub use builtin::{BUILTIN_STUDIES, BuiltinStudy};
pub use definition::{Axis, AxisValue, Baseline, Bench, Cell, Exclusion, SMALL, ScoreKind, Study, StudyTask};
pub use error::{StudyError, TrialError};
pub use ledger::{AtLength, AtPosition, CurvePoint, Ledger, Measured, RESULTS_FILE, Row, Status};
pub use lock::{LOCK_FILE, Lock};
pub use plan::{Excluded, Plan, Run, Work};
pub use runner::{Audience, Launcher, Options, RUNS_FOLDER, STUDY_FILE, StudyFolder, Tick};
pub use scaling::{Scaling, Series, SeriesPoint, scalings};
pub use trial::{Ended, score_lengths, train_trial};
