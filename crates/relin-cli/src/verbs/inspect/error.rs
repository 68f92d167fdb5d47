//! What can go wrong with an inspection.

use std::path::PathBuf;

use relin::hub::HubError;
use relin::runlog::RunlogError;
use relin_kernels::encoding::EncodingError;

/// Why there was nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(
        "`{name}` is neither a position encoding nor the folder of a run; did you mean `{near}`? \
         (known: {known}; or a table such as '{{ type = \"lrpe\", family = \"unitary\" }}')"
    )]
    Unknown { name: String, near: String, known: String },
    #[error(
        "`{name}` adds absolute positions to the embeddings: no function of the lag, so there is no kernel to look at"
    )]
    Absolute { name: String },
    #[error(
        "POSITION: expected a table such as {{ type = \"lrpe\", family = \"unitary\" }}, found {found}: {problem}"
    )]
    Table { found: String, problem: String },
    #[error("position `{position}` with {heads} heads of size {head_dim}")]
    Encoding { position: String, head_dim: usize, heads: usize, source: EncodingError },
    #[error("`{option}`: expected nothing beside a run, whose {} has it; found {found}", path.display())]
    FixedByRun { option: &'static str, path: PathBuf, found: usize },
    #[error("`--layer`: expected {expected}, found {found}")]
    NoLayer { expected: String, found: usize },
    #[error("{} is not a run: it has no {missing}", path.display())]
    NotARun { path: PathBuf, missing: &'static str },
    #[error("{}: tensor `{name}` of shape {expected:?} expected, {found}", path.display())]
    Tensor { path: PathBuf, name: String, expected: Vec<usize>, found: String },
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Figure(#[from] RunlogError),
}

impl InspectError {
    /// Whether what the user wrote is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::Absolute { .. }
                | Self::Table { .. }
                | Self::Encoding { .. }
                | Self::FixedByRun { .. }
                | Self::NoLayer { .. }
        )
    }
}
