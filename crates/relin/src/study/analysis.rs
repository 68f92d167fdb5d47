//! What the results of a study say: scores of cells, paired differences, ranks; and what they do not say.

use std::collections::BTreeSet;

use super::definition::{Cell, ScoreKind, StudyTask};
use super::ledger::{AtLength, Ledger, Measured, Row, Status};
use super::plan::{Plan, Run, Work};
use super::statistics::{Interval, Summary, holm, interval, ranks, summary};

/// Below this probability a difference counts as found: perhaps, by itself; surely, adjusted for all comparisons.
const LEVEL: f64 = 0.05;

/// Two values may lie close together by luck, and then seem sure of anything.
const SURE_FROM: usize = 3;

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
}

/// The score at a context.
#[derive(Clone, Debug)]
pub struct AtContext {
    /// Tokens.
    pub length: usize,
    /// Over the seeds that have a score there.
    pub summary: Summary,
}

/// A difference from the baseline, seed by seed.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Name of the baseline.
    pub with: String,
    /// Own score less the baseline's.
    pub difference: Interval,
    /// Probability of such a difference by chance, adjusted for all comparisons of the task.
    pub adjusted: Option<f64>,
    /// What can be said.
    pub answer: Answer,
}

/// What can be said of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Better than the baseline, also when all comparisons are paid for.
    Better,
    /// Better by its own interval alone, as one row in twenty is by chance.
    PerhapsBetter,
    /// Worse by its own interval alone.
    PerhapsWorse,
    /// Worse, also when all comparisons are paid for.
    Worse,
    /// Not separated from it by these seeds.
    Undecided,
    /// A single pair of seeds separates nothing.
    TooFewSeeds,
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

/// Ranks of cells on every task, 1 the best.
#[derive(Clone, Debug, PartialEq)]
pub struct RankTable {
    /// The tasks.
    pub tasks: Vec<String>,
    /// Names of cells, their ranks, and the mean of these; the best first.
    pub rows: Vec<(String, Vec<f64>, f64)>,
    /// Kendall's W: 1 if all tasks rank alike, 0 if their ranks have nothing in common.
    pub agreement: Option<f64>,
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

struct Results<'a> {
    plan: &'a Plan,
    ledger: &'a Ledger,
}

impl Results<'_> {
    fn row(&self, run: &Run) -> Option<&Row> {
        self.ledger.row(&run.id)
    }

    fn runs<'a>(&'a self, task: &'a str, cell: &'a Cell) -> impl Iterator<Item = &'a Run> {
        self.plan.runs.iter().filter(move |run| run.task == task && run.cell == *cell)
    }

    fn task(&self, task: &StudyTask) -> TaskResult {
        let score = task.score.unwrap_or_else(|| self.natural_score(&task.name));
        let made = |cell: &&Cell| self.plan.study.excluded(&task.name, cell).is_none();
        let cells = self.plan.study.cells.iter().filter(made).map(|cell| self.cell(task, cell, score));
        let mut cells: Vec<CellResult> = cells.collect();
        self.compare(&mut cells, score);
        let context =
            self.plan.runs.iter().find(|run| run.task == task.name).map_or(0, |run| match &run.work {
                Work::Train { recipe, .. } => recipe.data.context,
                Work::Bench { .. } => 0,
            });
        let effects = self.effects(&cells, score);
        TaskResult { name: task.name.clone(), score, context, resolution: resolution(&cells), effects, cells }
    }

    /// Accuracy where runs have one.
    fn natural_score(&self, task: &str) -> ScoreKind {
        let of_task = self.plan.runs.iter().filter(|run| run.task == task);
        let accurate =
            of_task.filter_map(|run| self.row(run)).any(|row| row.measured.valid_accuracy.is_some());
        if accurate { ScoreKind::Accuracy } else { ScoreKind::Loss }
    }

    fn cell(&self, task: &StudyTask, cell: &Cell, score: ScoreKind) -> CellResult {
        let rows: Vec<&Row> = self.runs(&task.name, cell).filter_map(|run| self.row(run)).collect();
        let finished: Vec<&Row> = rows.iter().copied().filter(|row| row.status == Status::Finished).collect();
        let scores: Vec<(u64, f64)> =
            finished.iter().filter_map(|row| Some((row.seed, own_score(&row.measured, score)?))).collect();
        let values: Vec<f64> = scores.iter().map(|(_, value)| *value).collect();
        let seconds: Vec<f64> = finished.iter().filter_map(|row| row.measured.seconds).collect();
        CellResult {
            cell: cell.clone(),
            name: self.plan.study.cell_name(cell),
            values: self.plan.study.value_names(cell).into_iter().map(str::to_owned).collect(),
            summary: summary(&values),
            failed: rows.len() - scores.len(),
            scores,
            is_baseline: self.plan.study.is_baseline(cell),
            comparison: None,
            parameters: finished.iter().find_map(|row| row.measured.parameters),
            seconds: summary(&seconds).map(|seconds| seconds.mean),
            peak_bytes: finished.iter().filter_map(|row| row.measured.peak_bytes).max(),
            clamped: clamped(&rows),
            curve: curve(&finished, score),
            contexts: contexts(&finished, score, &task.lengths),
        }
    }

    fn compare(&self, cells: &mut [CellResult], score: ScoreKind) {
        let of = |cells: &[CellResult], cell: &Cell| cells.iter().position(|other| other.cell == *cell);
        let mut found: Vec<(usize, usize, Interval)> = Vec::new();
        for (at, own) in cells.iter().enumerate() {
            let other = self.plan.study.baseline_of(&own.cell).and_then(|cell| of(cells, &cell));
            let Some(other) = other else { continue };
            let differences: Vec<f64> = paired(&own.scores, &cells[other].scores).map(|(_, d)| d).collect();
            found.extend(interval(&differences).map(|difference| (at, other, difference)));
        }
        let comparisons = answered(found.iter().map(|(_, _, difference)| *difference).collect(), score);
        for ((at, other, _), comparison) in found.into_iter().zip(comparisons) {
            cells[at].comparison = Some(Comparison { with: cells[other].name.clone(), ..comparison });
        }
    }

    /// Of every value of an axis that has a baseline, where at least two pairs of cells show it.
    fn effects(&self, cells: &[CellResult], score: ScoreKind) -> Vec<AxisEffect> {
        let Some(baseline) = &self.plan.study.baseline else { return Vec::new() };
        let mut found = Vec::new();
        for (axis_at, axis) in self.plan.study.axes.iter().enumerate() {
            let Some(base) = baseline.0[axis_at] else { continue };
            for (value_at, value) in axis.values.iter().enumerate().filter(|(at, _)| *at != base) {
                let pairs: Vec<_> = cells
                    .iter()
                    .filter(|cell| cell.cell.0[axis_at] == value_at)
                    .filter_map(|own| {
                        let mut other = own.cell.clone();
                        other.0[axis_at] = base;
                        let other = cells.iter().find(|cell| cell.cell == other)?;
                        Some(paired(&own.scores, &other.scores).collect::<Vec<_>>())
                    })
                    .collect();
                let (differences, pairs) = balanced(&pairs);
                if let (Some(difference), true) = (interval(&differences), pairs >= 2) {
                    let (value, with) = (value.name.clone(), axis.values[base].name.clone());
                    found.push((axis.name.clone(), value, with, pairs, difference));
                }
            }
        }
        let comparisons = answered(found.iter().map(|effect| effect.4).collect(), score);
        let effect = |((axis, value, with, pairs, _), comparison): (_, Comparison)| {
            let comparison = Comparison { with: String::clone(&with), ..comparison };
            AxisEffect { axis, value, with, pairs, comparison }
        };
        found.into_iter().zip(comparisons).map(effect).collect()
    }

    fn failures(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for run in &self.plan.runs {
            let Some(row) = self.row(run) else { continue };
            let what = self.plan.run_name(run);
            if row.status != Status::Finished {
                let (how, reason) = (row.status.words().into(), row.reason.clone().unwrap_or_default());
                failures.push(Failure { what: what.clone(), how, reason });
            }
            let refused = |at: &AtLength| Some((at.length, at.refused.clone()?));
            for (length, reason) in row.measured.lengths.iter().filter_map(refused) {
                let what = format!("{what}, T = {length}");
                failures.push(Failure { what, how: "no score".into(), reason });
            }
        }
        failures
    }

    fn warnings(&self, analysis: &Analysis) -> Vec<String> {
        let mut warnings = Vec::new();
        if analysis.missing > 0 {
            let all = self.plan.runs.len();
            warnings.push(format!(
                "{} of {all} runs have no result yet; all below is preliminary",
                analysis.missing
            ));
        }
        let seeds = self.plan.study.seeds.len();
        match seeds {
            _ if self.plan.study.tasks.is_empty() => {}
            1 => warnings.push("one seed: no difference can be told from noise, and no interval is given".into()),
            2 => warnings.push(
                "two seeds: an interval of two values is 12.7 standard errors wide on either side; only gross differences show"
                    .into(),
            ),
            _ => {}
        }
        warnings.extend(self.undecided(analysis));
        let failed = analysis.failures.iter().filter(|failure| failure.how != "no score").count();
        if failed > 0 {
            warnings
                .push(format!("{failed} runs failed and are in no mean; they are listed with their reasons"));
        }
        warnings.extend(self.mixed());
        warnings
    }

    fn undecided(&self, analysis: &Analysis) -> Option<String> {
        let comparisons =
            || analysis.tasks.iter().flat_map(|task| &task.cells).filter_map(|cell| cell.comparison.as_ref());
        let open =
            comparisons().filter(|c| matches!(c.answer, Answer::Undecided | Answer::TooFewSeeds)).count();
        let all = comparisons().count();
        (open > 0).then(|| {
            format!(
                "{open} of {all} differences from the baseline are not separated from 0 by {} seeds: these rows may be ordered by chance",
                self.plan.study.seeds.len()
            )
        })
    }

    /// Rows that were not made alike are not quite comparable.
    fn mixed(&self) -> Vec<String> {
        let rows: Vec<&Row> = self.plan.runs.iter().filter_map(|run| self.row(run)).collect();
        let revisions: BTreeSet<&str> = rows.iter().filter_map(|row| row.revision.as_deref()).collect();
        let threads: BTreeSet<usize> = rows.iter().map(|row| row.threads).collect();
        let mut warnings = Vec::new();
        if revisions.len() > 1 {
            let all: Vec<&str> = revisions.into_iter().collect();
            warnings.push(format!("results of several revisions of relin: {}", all.join(", ")));
        }
        if threads.len() > 1 {
            warnings.push(format!(
                "runs with different numbers of threads ({threads:?}): sums are rounded differently"
            ));
        }
        warnings
    }
}

/// Comparisons with their answers, adjusted for their number; whom they are with is filled in by the caller.
fn answered(differences: Vec<Interval>, score: ScoreKind) -> Vec<Comparison> {
    let probabilities: Vec<f64> = differences.iter().filter_map(|difference| difference.p).collect();
    let mut adjusted = holm(&probabilities).into_iter();
    let one = |difference: Interval| {
        let adjusted = difference.p.and_then(|_| adjusted.next());
        let better = match score {
            ScoreKind::Loss => difference.mean < 0.0,
            ScoreKind::Accuracy => difference.mean > 0.0,
        };
        let sure = difference.n >= SURE_FROM && adjusted.is_some_and(|p| p < LEVEL);
        let answer = match (difference.p, better) {
            (None, _) => Answer::TooFewSeeds,
            (Some(p), _) if p >= LEVEL => Answer::Undecided,
            (_, true) => {
                if sure {
                    Answer::Better
                } else {
                    Answer::PerhapsBetter
                }
            }
            (_, false) => {
                if sure {
                    Answer::Worse
                } else {
                    Answer::PerhapsWorse
                }
            }
        };
        Comparison { with: String::new(), difference, adjusted, answer }
    };
    differences.into_iter().map(one).collect()
}

/// Differences, seed by seed, of the seeds that both have.
fn paired(own: &[(u64, f64)], other: &[(u64, f64)]) -> impl Iterator<Item = (u64, f64)> {
    own.iter().filter_map(|(seed, value)| {
        other.iter().find(|(other, _)| other == seed).map(|(_, base)| (*seed, value - base))
    })
}

/// For each seed the mean over all pairs that have every seed that any has; and the number of these pairs.
fn balanced(pairs: &[Vec<(u64, f64)>]) -> (Vec<f64>, usize) {
    let most = pairs.iter().map(Vec::len).max().unwrap_or(0);
    let whole: Vec<&Vec<(u64, f64)>> = pairs.iter().filter(|pair| pair.len() == most && most > 0).collect();
    let mean = |at: usize| whole.iter().map(|pair| pair[at].1).sum::<f64>() / whole.len() as f64;
    ((0..most).map(mean).collect(), whole.len())
}

fn own_score(measured: &Measured, score: ScoreKind) -> Option<f64> {
    match score {
        ScoreKind::Loss => measured.valid_loss,
        ScoreKind::Accuracy => measured.valid_accuracy,
    }
}

/// The mean over the runs at every update at which all of them were scored.
fn curve(rows: &[&Row], score: ScoreKind) -> Vec<(usize, Summary)> {
    let Some(first) = rows.first() else { return Vec::new() };
    let at = |row: &Row, step: usize| {
        let point = row.measured.curve.iter().find(|point| point.step == step)?;
        if score == ScoreKind::Loss { point.loss } else { point.accuracy }
    };
    let mean = |step: usize| {
        let values = rows.iter().map(|row| at(row, step)).collect::<Option<Vec<f64>>>()?;
        Some((step, summary(&values)?))
    };
    first.measured.curve.iter().filter_map(|point| mean(point.step)).collect()
}

fn clamped(rows: &[&Row]) -> Option<f64> {
    rows.iter().flat_map(|row| &row.measured.curve).filter_map(|point| point.clamped).reduce(f64::max)
}

fn contexts(rows: &[&Row], score: ScoreKind, lengths: &[usize]) -> Vec<AtContext> {
    let at = |row: &&Row, length: usize| {
        let at = row.measured.lengths.iter().find(|at| at.length == length)?;
        if score == ScoreKind::Loss { at.loss } else { at.accuracy }
    };
    let of = |&length: &usize| {
        let values: Vec<f64> = rows.iter().filter_map(|row| at(row, length)).collect();
        Some(AtContext { length, summary: summary(&values)? })
    };
    lengths.iter().filter_map(of).collect()
}

fn resolution(cells: &[CellResult]) -> Option<f64> {
    let widths = cells.iter().filter_map(|cell| cell.comparison.as_ref()?.difference.half_width);
    let mut widths: Vec<f64> = widths.collect();
    widths.sort_by(f64::total_cmp);
    widths.get(widths.len() / 2).copied()
}

fn rank_table(tasks: &[TaskResult]) -> Option<RankTable> {
    let [first, _, ..] = tasks else { return None };
    let score = |task: &TaskResult, cell: &Cell| {
        let mean = task.cells.iter().find(|own| own.cell == *cell)?.summary?.mean;
        Some(if task.score == ScoreKind::Accuracy { -mean } else { mean })
    };
    let everywhere: Vec<&CellResult> = first
        .cells
        .iter()
        .filter(|cell| tasks.iter().all(|task| score(task, &cell.cell).is_some()))
        .collect();
    if everywhere.len() < 2 {
        return None;
    }
    let columns: Vec<Vec<f64>> = tasks
        .iter()
        .map(|task| ranks(&everywhere.iter().filter_map(|cell| score(task, &cell.cell)).collect::<Vec<_>>()))
        .collect();
    let row = |(at, cell): (usize, &&CellResult)| {
        let own: Vec<f64> = columns.iter().map(|column| column[at]).collect();
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        (cell.name.clone(), own, mean)
    };
    let mut rows: Vec<_> = everywhere.iter().enumerate().map(row).collect();
    rows.sort_by(|a, b| a.2.total_cmp(&b.2));
    let agreement = kendall(&columns);
    Some(RankTable { tasks: tasks.iter().map(|task| task.name.clone()).collect(), rows, agreement })
}

/// `12 Σ(R_i − R̄)² / (m²(n³ − n))` of m judges over n things, without correction for ties.
fn kendall(columns: &[Vec<f64>]) -> Option<f64> {
    let (m, n) = (columns.len() as f64, columns.first()?.len() as f64);
    let sums = (0..n as usize).map(|at| columns.iter().map(|column| column[at]).sum::<f64>());
    let middle = m * (n + 1.0) / 2.0;
    let spread: f64 = sums.map(|sum| (sum - middle).powi(2)).sum();
    Some(12.0 * spread / (m * m * (n * n * n - n)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{SMALL, Study};

    const STUDY: &str = r#"
        title = "t"
        question = "q"
        seeds = [0, 1, 2]
        baseline = { a = "x" }
        [[task]]
        name = "text"
        base = "quickstart"
        [[task]]
        name = "lags"
        base = "lag-retrieval"
        [[axis]]
        name = "a"
        values = [{ name = "x" }, { name = "y", set = { train.beta1 = 0.5 } }, { name = "z", set = { train.beta1 = 0.6 } }]
        [[axis]]
        name = "b"
        values = [{ name = "1" }, { name = "2", set = { train.eps = 1e-6 } }]
    "#;

    fn plan() -> Plan {
        Plan::new(Study::parse("s.toml", STUDY, SMALL, None).unwrap(), &[]).unwrap()
    }

    /// Rows by what `measured` says of a run.
    fn ledger(plan: &Plan, measured: impl Fn(&Run) -> Option<Result<Measured, Status>>) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        for run in &plan.runs {
            let Some(end) = measured(run) else { continue };
            let (status, measured) = match end {
                Ok(measured) => (Status::Finished, measured),
                Err(status) => (status, Measured::default()),
            };
            let row = Row {
                run: run.id.clone(),
                study: "s".into(),
                size: SMALL.into(),
                task: run.task.clone(),
                cell: Default::default(),
                seed: run.seed,
                status,
                reason: Some("because".into()),
                measured,
                threads: 1,
                version: "0".into(),
                revision: Some("r".into()),
                command: String::new(),
                recipe: None,
            };
            ledger.append(row).unwrap();
        }
        ledger
    }

    /// y is better than x by 0.5 whatever the seed, z by chance alone; seeds differ by more than both.
    fn score(run: &Run) -> Measured {
        let noise = [3.0, 7.0, 4.0][run.seed as usize];
        let own = match run.cell.0[0] {
            0 => 0.0,
            1 => -0.5 + 0.001 * run.seed as f64,
            _ => [0.3, -0.4, 0.05][run.seed as usize],
        };
        match run.task.as_str() {
            "text" => Measured { valid_loss: Some(noise + own), ..Measured::default() },
            _ => Measured {
                valid_loss: Some(1.0),
                valid_accuracy: Some(0.5 - 0.01 * own),
                ..Measured::default()
            },
        }
    }

    #[test]
    fn pairs_separate_what_means_cannot_and_noise_stays_noise() {
        let plan = plan();
        let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
        let text = &analysis.tasks[0];
        assert_eq!((text.score, analysis.tasks[1].score), (ScoreKind::Loss, ScoreKind::Accuracy));
        let answer = |task: &TaskResult, name: &str| {
            task.cells.iter().find(|cell| cell.name == name).unwrap().comparison.as_ref().map(|c| c.answer)
        };
        assert_eq!(answer(text, "x · 1"), None);
        assert_eq!(answer(text, "y · 2"), Some(Answer::Better));
        assert_eq!(answer(text, "z · 1"), Some(Answer::Undecided));
        // More accuracy is better.
        assert_eq!(answer(&analysis.tasks[1], "y · 1"), Some(Answer::Better));
        let cell = &text.cells[2];
        assert!(cell.summary.unwrap().deviation.unwrap() > 1.0);
        assert!((cell.comparison.as_ref().unwrap().difference.mean + 0.499).abs() < 1e-9);
        assert!(
            analysis.warnings.iter().any(|w| w.contains("4 of 8 differences")),
            "{:?}",
            analysis.warnings
        );
    }

    #[test]
    fn an_axis_has_an_effect_over_all_cells_that_differ_in_it_alone() {
        let plan = plan();
        let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
        let effects = &analysis.tasks[0].effects;
        assert_eq!(
            effects.iter().map(|e| (e.value.as_str(), e.pairs)).collect::<Vec<_>>(),
            [("y", 2), ("z", 2)]
        );
        assert_eq!(effects[0].comparison.answer, Answer::Better);
        assert_eq!(effects[1].comparison.answer, Answer::Undecided);
    }

    #[test]
    fn ranks_and_their_agreement() {
        let plan = plan();
        let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
        let ranks = analysis.ranks.unwrap();
        assert_eq!(ranks.tasks, ["text", "lags"]);
        assert!(ranks.rows[0].0.starts_with('y') && ranks.rows[0].2 == 1.5, "{ranks:?}");
        assert_eq!(kendall(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0]]), Some(1.0));
        assert_eq!(kendall(&[vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 1.0]]), Some(0.0));
    }

    #[test]
    fn what_failed_is_listed_and_in_no_mean() {
        let plan = plan();
        let analysis = Analysis::new(
            &plan,
            &ledger(&plan, |run| match (run.cell.0[0], run.seed) {
                (1, 0) => Some(Err(Status::Diverged)),
                (2, 2) => None,
                _ => Some(Ok(score(run))),
            }),
        );
        let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
        assert_eq!((cell.failed, cell.scores.len()), (1, 2));
        assert_eq!(cell.comparison.as_ref().unwrap().difference.n, 2);
        assert_eq!(analysis.failures.len(), 4);
        assert!(analysis.failures[0].how == "diverged" && analysis.failures[0].reason == "because");
        assert_eq!(analysis.missing, 4);
        assert!(
            analysis.warnings.iter().any(|w| w.contains("4 of 36 runs have no result")),
            "{:?}",
            analysis.warnings
        );
    }

    #[test]
    fn one_seed_separates_nothing() {
        let mut study = Study::parse("s.toml", STUDY, SMALL, None).unwrap();
        study.seeds = vec![1];
        let plan = Plan::new(study, &[]).unwrap();
        let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
        let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
        assert_eq!(cell.comparison.as_ref().unwrap().answer, Answer::TooFewSeeds);
        assert!(analysis.warnings.iter().any(|w| w.contains("one seed")), "{:?}", analysis.warnings);
        assert!(analysis.tasks[0].resolution.is_none());
    }

    /// Differences that happen to be nearly equal make any interval narrow.
    #[test]
    fn two_seeds_are_sure_of_nothing() {
        let mut study = Study::parse("s.toml", STUDY, SMALL, None).unwrap();
        study.seeds = vec![0, 1];
        let plan = Plan::new(study, &[]).unwrap();
        let analysis = Analysis::new(&plan, &ledger(&plan, |run| Some(Ok(score(run)))));
        let cell = analysis.tasks[0].cells.iter().find(|cell| cell.name == "y · 1").unwrap();
        let comparison = cell.comparison.as_ref().unwrap();
        assert!(comparison.adjusted.unwrap() < LEVEL);
        assert_eq!(comparison.answer, Answer::PerhapsBetter);
    }

    #[test]
    fn results_of_several_revisions_are_pointed_out() {
        let plan = plan();
        let mut ledger = ledger(&plan, |run| Some(Ok(score(run))));
        let folder = tempfile::tempdir().unwrap();
        let mut mixed = Ledger::open(folder.path()).unwrap();
        for (at, row) in ledger.rows().to_vec().into_iter().enumerate() {
            mixed.append(Row { revision: Some(format!("r{}", at % 2)), ..row }).unwrap();
        }
        ledger = mixed;
        let warnings = Analysis::new(&plan, &ledger).warnings;
        assert!(warnings.iter().any(|w| w.contains("r0, r1")), "{warnings:?}");
    }
}
