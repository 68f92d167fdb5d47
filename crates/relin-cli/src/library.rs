//! The calls into the library behind each verb, and what they take and give.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// A data set that has a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "data")]
pub struct DataSet {
    pub name: String,
    /// `carried`, `fetched` or `made`.
    pub origin: String,
    pub about: String,
    pub licence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether recipes can name it now.
    pub here: bool,
}

/// How to make a data set; what is not given has the set's own default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MakeOptions {
    pub lines: Option<u64>,
    pub size: Option<u64>,
    pub seed: u64,
}

/// A data set that was fetched or made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "written")]
pub struct Written {
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
}

/// The data sets that are known by name.
pub fn data_list() -> Result<Vec<DataSet>, Failure> {
    Err(Failure::Unavailable { what: "list data sets" })
}

/// Fetches a data set into the folder `out`; `from` is a copy of the remote file, taken instead of the network.
pub fn data_get(_name: &str, _out: &Path, _from: Option<&Path>) -> Result<Written, Failure> {
    Err(Failure::Unavailable { what: "fetch data sets" })
}

/// Makes a data set in `out`, a file or a folder.
pub fn data_make(_name: &str, _: MakeOptions, _out: &Path) -> Result<Written, Failure> {
    Err(Failure::Unavailable { what: "make data sets" })
}
