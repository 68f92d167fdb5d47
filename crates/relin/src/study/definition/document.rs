//! The keys of a study's file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::{Bench, ScoreKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub title: String,
    pub question: String,
    pub base: Option<String>,
    pub seeds: Vec<u64>,
    pub baseline: Option<Value>,
    #[serde(default)]
    pub set: Table,
    #[serde(default)]
    pub budget: Budget,
    #[serde(default)]
    pub measure: Measure,
    #[serde(default)]
    pub axis: Vec<AxisDocument>,
    pub cells: Option<Vec<Vec<String>>>,
    #[serde(default)]
    pub exclude: Vec<ExcludeDocument>,
    #[serde(default)]
    pub task: Vec<TaskDocument>,
    #[serde(default)]
    pub bench: Vec<Bench>,
    #[serde(default)]
    pub size: BTreeMap<String, Table>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    pub steps: Option<i64>,
    pub seconds: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Measure {
    #[serde(default)]
    pub lengths: Vec<usize>,
    pub score: Option<ScoreKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AxisDocument {
    pub name: String,
    pub values: Vec<ValueDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueDocument {
    pub name: String,
    #[serde(default)]
    pub set: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExcludeDocument {
    pub r#where: BTreeMap<String, Names>,
    pub because: String,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskDocument {
    pub name: String,
    pub base: String,
    #[serde(default)]
    pub set: Table,
    pub lengths: Option<Vec<usize>>,
    pub score: Option<ScoreKind>,
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}
