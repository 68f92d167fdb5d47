//! The tables of a report.

use relin::study::{Analysis, Answer, CellResult, Comparison, Plan, RankTable, ScoreKind, TaskResult};

use super::Section;
use crate::progress::grouped;

/// A table whose columns can be sorted.
pub struct Table {
    pub caption: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Entry>>,
}

/// A column: numbers stand to the right.
pub struct Column {
    pub name: String,
    pub numeric: bool,
}

/// What stands in a cell.
#[derive(Clone, Default)]
pub struct Entry {
    pub text: String,
    /// What it is sorted by.
    pub value: Option<f64>,
    pub strong: bool,
}

impl Entry {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub fn number(value: Option<f64>, text: impl FnOnce(f64) -> String) -> Self {
        Self { text: value.map_or("–".into(), text), value, strong: false }
    }
}

/// Columns of words, then columns of numbers.
pub fn columns(words: &[&str], numbers: &[&str]) -> Vec<Column> {
    let column = |numeric| move |name: &&str| Column { name: (*name).into(), numeric };
    words.iter().map(column(false)).chain(numbers.iter().map(column(true))).collect()
}

impl Table {
    /// For a terminal.
    pub fn plain(&self) -> String {
        let width = |at: usize| {
            let texts = self.rows.iter().map(|row| row[at].text.chars().count());
            texts.chain([self.columns[at].name.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |texts: Vec<&str>| {
            let padded = texts.into_iter().zip(&self.columns).zip(&widths).map(|((text, column), width)| {
                if column.numeric { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(self.columns.iter().map(|column| column.name.as_str()).collect());
        let rows = self.rows.iter().map(|row| line(row.iter().map(|entry| entry.text.as_str()).collect()));
        [self.caption.clone(), head].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    }
}

/// How to read the table of a task.
pub fn reading(task: &TaskResult, plan: &Plan) -> Vec<String> {
    let mut words = Vec::new();
    words.push(match task.score {
        ScoreKind::Loss => {
            "Validation loss in nats a target, the best of each run's evaluations; less is better.".into()
        }
        ScoreKind::Accuracy => {
            "Share of right answers on what is held out, of the weights with the best loss; more is better."
                .to_owned()
        }
    });
    if plan.study.baseline.is_some() {
        words.push(
            "Differences are taken seed by seed from the baseline with 95 % intervals of Student's t. A row is called better or worse only if it stays so after Holm's correction for the number of rows (p) and has at least three seeds; perhaps so, if its own interval alone excludes 0, as it does for one row in twenty by chance; all others are not separated from the baseline.".into(),
        );
    }
    if task.cells.iter().any(|cell| cell.clamped.is_some()) {
        words.push(
            "Clamped is the greatest share of encoded denominators, of any evaluation of any run, that did not reach ε on a training batch: ε divided in their stead, and no gradient came through them.".into(),
        );
    }
    if let Some(width) = task.resolution {
        words.push(format!(
            "The median interval is ±{}: differences below that are mostly beyond what these seeds resolve.",
            precise(width)
        ));
    }
    words
}

/// Numbers of about three digits.
pub fn precise(value: f64) -> String {
    format!("{value:.*}", decimals(value))
}

fn decimals(value: f64) -> usize {
    if value == 0.0 { 1 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize }
}

/// All cells of a task, the best first.
pub fn cells(task: &TaskResult, plan: &Plan) -> Table {
    let axes: Vec<&str> = plan.study.axes.iter().map(|axis| axis.name.as_str()).collect();
    let score = if task.score == ScoreKind::Loss { "loss" } else { "accuracy" };
    let compared = plan.study.baseline.is_some();
    let mut numbers = vec![score, "± sd", "seeds"];
    if compared {
        numbers.extend(["− baseline", "95 %", "p (Holm)"]);
    }
    let mut columns = columns(&axes, &numbers);
    if compared {
        columns.push(Column { name: "against the baseline".into(), numeric: false });
    }
    let clamped = task.cells.iter().any(|cell| cell.clamped.is_some());
    columns.extend(clamped.then(|| Column { name: "clamped".into(), numeric: true }));
    let costs = ["failed", "parameters", "seconds", "peak MiB"];
    columns.extend(costs.map(|name| Column { name: name.into(), numeric: true }));
    let mut ordered: Vec<&CellResult> = task.cells.iter().collect();
    let goodness = |cell: &CellResult| {
        let mean = cell.summary.map_or(f64::INFINITY, |summary| summary.mean);
        if task.score == ScoreKind::Accuracy && mean.is_finite() { -mean } else { mean }
    };
    ordered.sort_by(|a, b| goodness(a).total_cmp(&goodness(b)));
    let rows = ordered.into_iter().map(|cell| row(cell, compared, clamped)).collect();
    Table { caption: format!("{}, every cell", task.name), columns, rows }
}

fn row(cell: &CellResult, compared: bool, clamped: bool) -> Vec<Entry> {
    let mut row: Vec<Entry> = cell.values.iter().map(Entry::text).collect();
    let four = |value: f64| format!("{value:.4}");
    row.push(Entry::number(cell.summary.map(|summary| summary.mean), four));
    row.push(Entry::number(cell.summary.and_then(|summary| summary.deviation), four));
    row.push(Entry::number(Some(cell.scores.len() as f64), |n| n.to_string()));
    if compared {
        row.extend(differences(cell.comparison.as_ref()));
        row.push(verdict(cell));
    }
    row.extend(clamped.then(|| Entry::number(cell.clamped, |share| format!("{:.2} %", 100.0 * share))));
    row.push(Entry::number(Some(cell.failed as f64), |n| n.to_string()));
    row.push(Entry::number(cell.parameters.map(|n| n as f64), |n| grouped(n as usize)));
    row.push(Entry::number(cell.seconds, |seconds| format!("{seconds:.1}")));
    row.push(Entry::number(cell.peak_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), |mib| {
        format!("{mib:.1}")
    }));
    row
}

fn differences(comparison: Option<&Comparison>) -> [Entry; 3] {
    let difference = comparison.map(|comparison| comparison.difference);
    // As many decimals as the interval is worth.
    let decimals =
        difference.map_or(4, |d| decimals(d.half_width.filter(|half| *half > 0.0).unwrap_or(d.mean)).max(4));
    [
        Entry::number(difference.map(|d| d.mean), |mean| format!("{mean:+.decimals$}")),
        Entry::number(difference.and_then(|d| d.half_width), |half| format!("±{half:.decimals$}")),
        Entry::number(comparison.and_then(|comparison| comparison.adjusted), |p| format!("{p:.3}")),
    ]
}

fn verdict(cell: &CellResult) -> Entry {
    match (&cell.comparison, cell.is_baseline) {
        (Some(comparison), _) => answer(comparison.answer),
        (None, true) => Entry::text("baseline"),
        (None, false) => Entry::text("no pair"),
    }
}

fn answer(answer: Answer) -> Entry {
    match answer {
        Answer::Better => Entry { strong: true, ..Entry::text("better") },
        Answer::Worse => Entry { strong: true, ..Entry::text("worse") },
        Answer::PerhapsBetter => Entry::text("perhaps better"),
        Answer::PerhapsWorse => Entry::text("perhaps worse"),
        Answer::Undecided => Entry::text("not separated"),
        Answer::TooFewSeeds => Entry::text("too few seeds"),
    }
}

/// What each value of an axis does, over all cells that differ in it alone.
pub fn effects(task: &TaskResult) -> Option<Table> {
    let rows: Vec<Vec<Entry>> = task
        .effects
        .iter()
        .map(|effect| {
            let words = [&effect.axis, &effect.value, &effect.with].map(Entry::text);
            let pairs = Entry::number(Some(effect.pairs as f64), |n| n.to_string());
            let numbers = differences(Some(&effect.comparison));
            let answer = answer(effect.comparison.answer);
            words.into_iter().chain([pairs]).chain(numbers).chain([answer]).collect()
        })
        .collect();
    let mut columns =
        columns(&["axis", "value", "instead of"], &["pairs of cells", "mean difference", "95 %", "p (Holm)"]);
    columns.push(Column { name: "answer".into(), numeric: false });
    let caption =
        format!("{}, what each value does on average over all cells that differ in it alone", task.name);
    (!rows.is_empty()).then_some(Table { caption, columns, rows })
}

/// Scores at other contexts.
pub fn contexts(task: &TaskResult, plan: &Plan) -> Option<Table> {
    let mut lengths: Vec<usize> =
        task.cells.iter().flat_map(|cell| cell.contexts.iter().map(|at| at.length)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    if lengths.is_empty() {
        return None;
    }
    let axes: Vec<&str> = plan.study.axes.iter().map(|axis| axis.name.as_str()).collect();
    let names: Vec<String> = lengths.iter().map(|length| format!("T = {length}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let entry = |cell: &CellResult, length: usize| {
        let at = cell.contexts.iter().find(|at| at.length == length).map(|at| at.summary);
        let text = |mean: f64| match at.and_then(|at| at.deviation) {
            Some(deviation) => format!("{mean:.4} ± {deviation:.4}"),
            None => format!("{mean:.4}"),
        };
        Entry::number(at.map(|at| at.mean), text)
    };
    let row = |cell: &CellResult| {
        let words = cell.values.iter().map(Entry::text);
        words.chain(lengths.iter().map(|&length| entry(cell, length))).collect()
    };
    let score = if task.score == ScoreKind::Loss { "loss" } else { "accuracy" };
    let caption =
        format!("{}, {score} at each context (trained at T = {}), mean ± sd", task.name, task.context);
    Some(Table { caption, columns: columns(&axes, &names), rows: task.cells.iter().map(row).collect() })
}

pub fn ranks(ranks: &RankTable) -> Table {
    let mut numbers: Vec<&str> = vec!["mean rank"];
    numbers.extend(ranks.tasks.iter().map(String::as_str));
    let number = |value: f64| Entry::number(Some(value), |value| format!("{value:.1}"));
    let row = |(name, own, mean): &(String, Vec<f64>, f64)| {
        let numbers = [*mean].into_iter().chain(own.iter().copied()).map(number);
        [Entry::text(name)].into_iter().chain(numbers).collect()
    };
    let rows = ranks.rows.iter().map(row).collect();
    Table { caption: "Ranks on every task".into(), columns: columns(&["cell"], &numbers), rows }
}

pub fn failures(analysis: &Analysis) -> Option<Section> {
    let row = |failure: &relin::study::Failure| {
        [&failure.what, &failure.how, &failure.reason].map(Entry::text).to_vec()
    };
    let rows: Vec<Vec<Entry>> = analysis.failures.iter().map(row).collect();
    let table = Table {
        caption: "Runs and contexts without a score".into(),
        columns: columns(&["run", "how it ended", "why"], &[]),
        rows,
    };
    let words = vec!["Results too, though in no mean above. `--retry` makes these runs again.".into()];
    (!table.rows.is_empty()).then(|| Section {
        title: "What failed".into(),
        words,
        tables: vec![table],
        figures: Vec::new(),
    })
}

pub fn exclusions(plan: &Plan) -> Option<Section> {
    let several = plan.study.tasks.len() > 1;
    let row = |excluded: &relin::study::Excluded| {
        let cell =
            if several { format!("{} · {}", excluded.task, excluded.cell) } else { excluded.cell.clone() };
        vec![Entry::text(cell), Entry::text(&excluded.because)]
    };
    let rows: Vec<Vec<Entry>> = plan.excluded.iter().map(row).collect();
    let table = Table {
        caption: "Combinations that are not made".into(),
        columns: columns(&["cell", "because"], &[]),
        rows,
    };
    (!table.rows.is_empty()).then(|| Section {
        title: "What is left out".into(),
        words: Vec::new(),
        tables: vec![table],
        figures: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(precise(0.01234), "0.0123");
        assert_eq!(precise(1.5), "1.50");
        assert_eq!(precise(1234.0), "1234");
        assert_eq!(precise(0.0), "0.0");
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let rows = vec![vec![Entry::text("a"), Entry::number(Some(1.0), |v| v.to_string())]];
        let table = Table { caption: "c".into(), columns: columns(&["name"], &["value"]), rows };
        assert_eq!(table.plain(), "c\nname  value\na         1");
    }
}
