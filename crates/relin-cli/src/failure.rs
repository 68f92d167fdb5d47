//! What can go wrong, how it is said, and which exit status it gives.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use relin::data::DataError;
use relin::eval::EvalError;
use relin::generate::GenerateError;
use relin::recipe::RecipeError;
use relin::runlog::RunlogError;
use relin::study::{StudyError, TrialError};
use relin::train::TrainError;

use crate::verbs::bench::BenchError;
use crate::verbs::inspect::InspectError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Runlog(#[from] RunlogError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Study(#[from] StudyError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a run: it has no {missing}", path.display())]
    NotARun { path: PathBuf, missing: &'static str },
    #[error("`{option}`: expected {expected}, found {found}")]
    BadOption { option: &'static str, expected: &'static str, found: String },
    #[error(transparent)]
    Instructions(#[from] relin_kernels::simd::OverrideError),
    #[error("cannot start {threads} threads")]
    Threads { threads: usize, source: rayon::ThreadPoolBuildError },
    #[error("cannot listen for Ctrl-C")]
    Signals { source: ctrlc::Error },
    #[error("stopped at step {step}; the same command goes on from there")]
    Interrupted { step: usize },
    #[error("stopped with {missing} runs to make; the same command goes on from there")]
    Paused { missing: usize },
}

/// What shells report of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Recipe(e) | Self::Train(TrainError::Recipe(e)) if e.is_usage() => ExitCode::from(2),
            Self::Data(e) if e.is_usage() => ExitCode::from(2),
            Self::Bench(e) if e.is_usage() => ExitCode::from(2),
            Self::Inspect(e) if e.is_usage() => ExitCode::from(2),
            Self::Study(e) if e.is_usage() => ExitCode::from(2),
            Self::BadOption { .. } | Self::Instructions(_) => ExitCode::from(2),
            Self::Interrupted { .. } | Self::Paused { .. } => ExitCode::from(INTERRUPTED),
            _ => ExitCode::FAILURE,
        }
    }

    /// To standard error; a closed one is no reason to fail differently.
    pub fn print(&self) {
        let _ = io::stderr().write_all(describe(self).as_bytes());
    }
}

/// The error and its causes, each one once.
fn describe(error: &dyn Error) -> String {
    let mut last = error.to_string();
    let mut text = format!("error: {last}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !last.contains(&words) {
            text += &format!("  because: {words}\n");
            last = words;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let source = io::Error::other("disk on fire");
        let text = describe(&Failure::Read { path: "a.txt".into(), source });
        assert_eq!(text, "error: cannot read a.txt\n  because: disk on fire\n");
        let recipe = RecipeError::Unreadable { path: "b".into(), source: io::Error::other("gone") };
        assert_eq!(describe(&Failure::Recipe(recipe)), "error: cannot read the recipe b\n  because: gone\n");
    }
}
