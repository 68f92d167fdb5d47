//! What the results of a study say: scores of cells, paired differences, ranks; and what they do not say.

mod comparison;
mod ranking;
mod results;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use self::comparison::{Answer, Comparison};
pub use self::ranking::RankTable;
use self::ranking::rank_table;
use self::results::Results;
use super::definition::{Cell, ScoreKind};
use super::ledger::Ledger;
use super::plan::Plan;
use super::statistics::Summary;

/// What the results of a study say.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Every task by itself.
    pub tasks: Vec<TaskResult>,
    /// Cells across tasks, where there are several.
    pub ranks: Option<RankTable>,
    /// Runs without a score, and contexts without one.
    pub failures: Vec<Failure>,
    /// Runs that ended.
    pub done: usize,
    /// Runs without a result so far.
    pub missing: usize,
    /// Rows of runs that the study no longer has.
    pub left_out: usize,
    /// What a reader must know before anything else.
    pub warnings: Vec<String>,
}

/// The cells of one task.
#[derive(Clone, Debug)]
pub struct TaskResult {
    /// Its name.
    pub name: String,
    /// What they are compared by.
    pub score: ScoreKind,
    /// Context that was trained on.
    pub context: usize,
    /// In the order of the study.
    pub cells: Vec<CellResult>,
    /// What each value of an axis does, over all cells that differ in it alone.
    pub effects: Vec<AxisEffect>,
    /// Half of the median interval: what so many seeds can resolve.
    pub resolution: Option<f64>,
}

/// A cell.
#[derive(Clone, Debug)]
pub struct CellResult {
    /// Which.
    pub cell: Cell,
    /// Its name.
    pub name: String,
    /// Names of its values.
    pub values: Vec<String>,
    /// Score of every seed that has one.
    pub scores: Vec<(u64, f64)>,
    /// Their mean and deviation.
    pub summary: Option<Summary>,
    /// Whether others are compared with it.
    pub is_baseline: bool,
    /// Against its baseline.
    pub comparison: Option<Comparison>,
    /// Runs that ended without a score.
    pub failed: usize,
    /// Scalars that are learned.
    pub parameters: Option<usize>,
    /// Mean seconds of a run.
    pub seconds: Option<f64>,
    /// Most heap memory of any run.
    pub peak_bytes: Option<u64>,
    /// Greatest share of encoded denominators that did not reach ε, of any evaluation of any run, where there are any.
    pub clamped: Option<f64>,
    /// Mean score over the updates.
    pub curve: Vec<(usize, Summary)>,
    /// Scores at other contexts.
    pub contexts: Vec<AtContext>,
    /// Mean losses by position in the longest of them, of tasks that tell them: the middle of some positions, and theirs.
    pub positions: Vec<(f64, Summary)>,
}

/// The score at a context.
#[derive(Clone, Debug)]
pub struct AtContext {
    /// Tokens.
    pub length: usize,
    /// Over the seeds that have a score there.
    pub summary: Summary,
}

/// What a value of an axis does.
#[derive(Clone, Debug)]
pub struct AxisEffect {
    /// The axis.
    pub axis: String,
    /// Its value.
    pub value: String,
    /// The value it is compared with.
    pub with: String,
    /// Pairs of cells that differ in it alone, averaged for each seed.
    pub pairs: usize,
    /// The mean difference over the seeds.
    pub comparison: Comparison,
}

/// A run, or a context, without a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub what: String,
    /// How it ended.
    pub how: String,
    /// Why.
    pub reason: String,
}

impl Analysis {
    /// What the results in `ledger` say about the plan.
    pub fn new(plan: &Plan, ledger: &Ledger) -> Self {
        let results = Results { plan, ledger };
        let tasks: Vec<TaskResult> = plan.study.tasks.iter().map(|task| results.task(task)).collect();
        let known: BTreeSet<&str> = plan.runs.iter().map(|run| run.id.as_str()).collect();
        let done = plan.runs.iter().filter(|run| ledger.row(&run.id).is_some()).count();
        let mut analysis = Self {
            ranks: rank_table(&tasks),
            failures: results.failures(),
            done,
            missing: plan.runs.len() - done,
            left_out: ledger.rows().iter().filter(|row| !known.contains(row.run.as_str())).count(),
            warnings: Vec::new(),
            tasks,
        };
        analysis.warnings = results.warnings(&analysis);
        analysis
    }
}
