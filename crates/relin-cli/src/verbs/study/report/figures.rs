//! The figures of one task.

use relin::study::{Answer, CellResult, Plan, ScoreKind, TaskResult};

use super::Figure;
use crate::plot::{Chart, Difference, Forest, Line, Matrix, Style};

/// Lines with a name of their own in a chart; there are as many colours.
const NAMED: usize = 6;
/// Rows of a forest; more are a wall.
const MOST_ROWS: usize = 70;
/// Colours of what is not separated, better and worse.
const COLOURS: [usize; 3] = [0, 2, 1];

pub fn of_task(at: usize, task: &TaskResult, plan: &Plan) -> Vec<Figure> {
    let mut figures = Vec::new();
    let prefix = if plan.study.tasks.len() > 1 { format!("{}-", at + 1) } else { String::new() };
    let mut add = |name: &str, svg: Option<String>, caption: &str| {
        if let Some(svg) = svg {
            figures.push(Figure { name: format!("{prefix}{name}"), svg, caption: caption.into() });
        }
    };
    add(
        "differences",
        differences(task),
        "Differences from the baseline: large dots are means over the seeds, small ones single seeds, lines 95 % intervals (cut where they reach beyond the page). Green is better and orange worse by its own interval, as one row in twenty is by chance; blue is not separated.",
    );
    for (number, (svg, caption)) in heat_maps(task, plan).into_iter().enumerate() {
        add(&format!("grid-{}", number + 1), Some(svg), &caption);
    }
    add(
        "curves",
        curves(task),
        "Score over the updates, means over the seeds. Named are the baseline and the best and worst cells; all others are drawn pale.",
    );
    add(
        "contexts",
        contexts(task),
        "Score over the context, means over the seeds; logarithmic axis. Named as above.",
    );
    add(
        "positions",
        positions(task),
        "Loss by how many tokens were seen, in the longest context, means over the seeds. Named as above.",
    );
    figures
}

fn score_name(task: &TaskResult) -> &'static str {
    score_name_of(task.score)
}

fn score_name_of(score: ScoreKind) -> &'static str {
    match score {
        ScoreKind::Loss => "loss per target (nats)",
        ScoreKind::Accuracy => "share of right answers",
    }
}

fn differences(task: &TaskResult) -> Option<String> {
    let row = |cell: &CellResult| {
        let comparison = cell.comparison.as_ref()?;
        let base = task.cells.iter().find(|other| other.name == comparison.with)?;
        let pair = |(seed, value): &(u64, f64)| {
            base.scores.iter().find(|(other, _)| other == seed).map(|(_, base)| value - base)
        };
        let colour = match comparison.answer {
            Answer::Better | Answer::PerhapsBetter => COLOURS[1],
            Answer::Worse | Answer::PerhapsWorse => COLOURS[2],
            Answer::Undecided | Answer::TooFewSeeds => COLOURS[0],
        };
        Some(Difference {
            name: cell.name.clone(),
            mean: comparison.difference.mean,
            half_width: comparison.difference.half_width,
            pairs: cell.scores.iter().filter_map(pair).collect(),
            colour,
        })
    };
    let rows: Vec<Difference> = task.cells.iter().filter_map(row).collect();
    if rows.is_empty() || rows.len() > MOST_ROWS {
        return None;
    }
    let better = if task.score == ScoreKind::Loss { "left" } else { "right" };
    let forest = Forest {
        title: "Differences from the baseline".into(),
        subtitle: format!("{}; better to the {better}", task.name),
        x_label: format!("difference in {}", score_name(task)),
        rows,
    };
    Some(forest.svg())
}

/// One map for every combination of the axes beyond the first two, where these have several values each.
fn heat_maps(task: &TaskResult, plan: &Plan) -> Vec<(String, String)> {
    let [rows, columns, others @ ..] = &plan.study.axes[..] else { return Vec::new() };
    let mut slices: Vec<Vec<usize>> = task.cells.iter().map(|cell| cell.cell.0[2..].to_vec()).collect();
    slices.sort();
    slices.dedup();
    let middle = middle(task);
    let limit =
        task.cells.iter().filter_map(|cell| Some((cell.summary?.mean - middle).abs())).fold(0.0, f64::max);
    let better = if task.score == ScoreKind::Loss { 1.0 } else { -1.0 };
    let map = |slice: Vec<usize>| {
        let value = |row: usize, column: usize| {
            let place = [&[row, column], &slice[..]].concat();
            let mean = task.cells.iter().find(|cell| cell.cell.0 == place)?.summary?.mean;
            let share = if limit > 0.0 { better * (mean - middle) / limit } else { 0.0 };
            Some((share, format!("{mean:.4}")))
        };
        let names = |axis: &relin::study::Axis| axis.values.iter().map(|value| value.name.clone()).collect();
        let of_slice: Vec<String> = others
            .iter()
            .zip(&slice)
            .map(|(axis, at)| format!("{}: {}", axis.name, axis.values[*at].name))
            .collect();
        let matrix = Matrix {
            title: format!("{} × {}", rows.name, columns.name),
            subtitle: match of_slice.is_empty() {
                true => task.name.clone(),
                false => format!("{}; {}", task.name, of_slice.join(", ")),
            },
            rows: names(rows),
            columns: names(columns),
            cells: (0..rows.values.len())
                .map(|row| (0..columns.values.len()).map(|column| value(row, column)).collect())
                .collect(),
        };
        (matrix.svg(), "Mean scores; blue is better and orange worse than the median cell of the task. Colours say nothing of noise: see the differences.".to_owned())
    };
    slices.into_iter().map(map).collect()
}

/// The median cell.
fn middle(task: &TaskResult) -> f64 {
    let mut means: Vec<f64> = task.cells.iter().filter_map(|cell| Some(cell.summary?.mean)).collect();
    means.sort_by(f64::total_cmp);
    means.get(means.len() / 2).copied().unwrap_or(0.0)
}

/// The cells that are named: baselines first, then the best and the worst.
fn named(task: &TaskResult) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..task.cells.len()).filter(|&at| task.cells[at].summary.is_some()).collect();
    if order.len() <= NAMED {
        return order;
    }
    let mean = |at: usize| task.cells[at].summary.map_or(f64::NAN, |summary| summary.mean);
    order.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    if task.score == ScoreKind::Accuracy {
        order.reverse();
    }
    let baseline = order.iter().copied().find(|&at| task.cells[at].is_baseline);
    let best = order.iter().copied().take(3);
    let worst = order.iter().rev().copied().take(2);
    let mut chosen: Vec<usize> = Vec::new();
    for at in baseline.into_iter().chain(best).chain(worst) {
        if !chosen.contains(&at) {
            chosen.push(at);
        }
    }
    chosen
}

/// All cells as lines, the named ones on top.
fn lines(
    task: &TaskResult,
    mut chart: Chart,
    points: impl Fn(&CellResult) -> Vec<(f64, f64)>,
    style: Style,
) -> Option<String> {
    let named = named(task);
    if task.cells.iter().all(|cell| points(cell).len() < 2) {
        return None;
    }
    for (at, cell) in task.cells.iter().enumerate().filter(|(at, _)| !named.contains(at)) {
        chart = chart.line(Line::new("", at, Style::Faint, points(cell)));
    }
    for (colour, &at) in named.iter().enumerate() {
        chart = chart.line(Line::new(task.cells[at].name.clone(), colour, style, points(&task.cells[at])));
    }
    Some(chart.svg())
}

fn curves(task: &TaskResult) -> Option<String> {
    let chart = Chart::new(format!("{}: learning curves", task.name), "update", score_name(task));
    let points =
        |cell: &CellResult| cell.curve.iter().map(|(step, summary)| (*step as f64, summary.mean)).collect();
    lines(task, chart, points, Style::Dots)
}

fn contexts(task: &TaskResult) -> Option<String> {
    let mut lengths: Vec<f64> =
        task.cells.iter().flat_map(|cell| cell.contexts.iter().map(|at| at.length as f64)).collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    let title = format!("{}: score over the context, trained at T = {}", task.name, task.context);
    let chart = Chart::new(title, "context T (tokens)", score_name(task)).log_x().x_ticks(lengths);
    let points =
        |cell: &CellResult| cell.contexts.iter().map(|at| (at.length as f64, at.summary.mean)).collect();
    lines(task, chart, points, Style::Dots)
}

fn positions(task: &TaskResult) -> Option<String> {
    let title = format!("{}: loss by position, trained at T = {}", task.name, task.context);
    let chart = Chart::new(title, "tokens seen", score_name_of(ScoreKind::Loss));
    let points = |cell: &CellResult| cell.positions.iter().map(|(at, loss)| (*at, loss.mean)).collect();
    lines(task, chart, points, Style::Dots)
}
