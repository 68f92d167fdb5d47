//! Ranks over tasks.

use super::{CellResult, TaskResult};
use crate::study::definition::{Cell, ScoreKind};
use crate::study::statistics::ranks;

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

pub(super) fn rank_table(tasks: &[TaskResult]) -> Option<RankTable> {
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
pub(super) fn kendall(columns: &[Vec<f64>]) -> Option<f64> {
    let (m, n) = (columns.len() as f64, columns.first()?.len() as f64);
    let sums = (0..n as usize).map(|at| columns.iter().map(|column| column[at]).sum::<f64>());
    let middle = m * (n + 1.0) / 2.0;
    let spread: f64 = sums.map(|sum| (sum - middle).powi(2)).sum();
    Some(12.0 * spread / (m * m * (n * n * n - n)))
}
