//! What can go wrong with a benchmark.

use std::path::PathBuf;

use relin::model::ModelError;
use relin::recipe::RecipeError;
use relin::runlog::RunlogError;
use relin::train::TrainError;
use relin_kernels::encoding::EncodingError;
use relin_kernels::softmax_attention::AttentionError;

/// Why a benchmark gave no numbers.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot read the benchmark {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{name}, line {line}: {problem}")]
    Definition { name: String, line: usize, problem: String },
    #[error("`{field}`: expected {expected}, found {found}")]
    BadValue { field: &'static str, expected: &'static str, found: String },
    #[error("position `{position}` with heads of size {key_dim}")]
    Encoding { position: &'static str, key_dim: usize, source: EncodingError },
    #[error("softmax attention")]
    Softmax(#[from] AttentionError),
    #[error(
        "{what} is wrong, so it was not timed: its relative error against {oracle} is {error:.2e}, more than {tolerance:.0e}"
    )]
    Wrong { what: String, oracle: &'static str, error: f64, tolerance: f64 },
    #[error(
        "{what} does not learn, so it was not timed: on one batch its loss went from {before:.4} (guessing gives {guessing:.4}) to {after:.4}"
    )]
    LearnsNothing { what: String, before: f64, after: f64, guessing: f64 },
    #[error("cannot start {threads} threads")]
    Threads { threads: usize, source: rayon::ThreadPoolBuildError },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error("cannot create {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Plot(#[from] RunlogError),
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl BenchError {
    /// Whether what the user wrote is at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Definition { .. } | Self::BadValue { .. } | Self::Encoding { .. } | Self::Model(_) => true,
            Self::Recipe(error) => error.is_usage(),
            _ => false,
        }
    }
}
