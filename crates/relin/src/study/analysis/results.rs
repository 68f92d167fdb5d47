//! From the rows of the runs to the results of tasks and cells.

use std::collections::BTreeSet;

use super::comparison::{answered, balanced, paired};
use super::{Analysis, Answer, AtContext, AxisEffect, CellResult, Comparison, Failure, TaskResult};
use crate::study::definition::{Cell, ScoreKind, StudyTask};
use crate::study::ledger::{AtLength, AtPosition, Ledger, Measured, Row, Status};
use crate::study::plan::{Plan, Run, Work};
use crate::study::statistics::{Interval, Summary, interval, summary};

pub(super) struct Results<'a> {
    pub plan: &'a Plan,
    pub ledger: &'a Ledger,
}

impl Results<'_> {
    fn row(&self, run: &Run) -> Option<&Row> {
        self.ledger.row(&run.id)
    }

    fn runs<'a>(&'a self, task: &'a str, cell: &'a Cell) -> impl Iterator<Item = &'a Run> {
        self.plan.runs.iter().filter(move |run| run.task == task && run.cell == *cell)
    }

    pub fn task(&self, task: &StudyTask) -> TaskResult {
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
            positions: positions(&finished, &task.lengths),
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

    pub fn failures(&self) -> Vec<Failure> {
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

    pub fn warnings(&self, analysis: &Analysis) -> Vec<String> {
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

/// At the positions where every run has a loss.
fn positions(rows: &[&Row], lengths: &[usize]) -> Vec<(f64, Summary)> {
    let in_longest = |row: &&Row| -> Vec<AtPosition> {
        let scored = row.measured.lengths.iter().filter(|at| lengths.contains(&at.length));
        scored.max_by_key(|at| at.length).map(|at| at.positions.clone()).unwrap_or_default()
    };
    let runs: Vec<Vec<AtPosition>> = rows.iter().map(in_longest).collect();
    let mean = |place: &AtPosition| {
        let of = |run: &Vec<AtPosition>| {
            run.iter().find(|at| (at.from, at.to) == (place.from, place.to)).map(|at| at.loss)
        };
        let losses = runs.iter().map(of).collect::<Option<Vec<f64>>>()?;
        Some(((place.from + place.to) as f64 / 2.0, summary(&losses)?))
    };
    runs.first().into_iter().flatten().filter_map(mean).collect()
}

fn resolution(cells: &[CellResult]) -> Option<f64> {
    let widths = cells.iter().filter_map(|cell| cell.comparison.as_ref()?.difference.half_width);
    let mut widths: Vec<f64> = widths.collect();
    widths.sort_by(f64::total_cmp);
    widths.get(widths.len() / 2).copied()
}
