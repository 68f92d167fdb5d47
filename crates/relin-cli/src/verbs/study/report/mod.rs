//! What a study found, as files: `summary.md`, `report.html`, and the figures of both. All is made from the results alone.

mod figures;
mod html;
mod kernels;
mod markdown;
mod scaling;
mod tables;

use std::path::{Path, PathBuf};

use relin::runlog::{RunlogError, write_atomic};
use relin::study::{Analysis, Ledger, Plan, Scaling, scalings};

use self::tables::Table;
use crate::failure::Failure;

const HTML_FILE: &str = "report.html";
const MARKDOWN_FILE: &str = "summary.md";
const FIGURES_FOLDER: &str = "figures";

/// Where the report is, and its first table for the terminal.
pub struct Files {
    pub html: PathBuf,
    pub markdown: PathBuf,
    pub table: String,
}

/// A drawing with words below it.
pub struct Figure {
    /// Of its file, without ending.
    pub name: String,
    pub svg: String,
    pub caption: String,
}

/// A part of the report.
pub struct Section {
    pub title: String,
    /// Paragraphs.
    pub words: Vec<String>,
    pub tables: Vec<Table>,
    pub figures: Vec<Figure>,
}

/// The whole report.
pub struct Document<'a> {
    pub plan: &'a Plan,
    pub analysis: &'a Analysis,
    /// Of relin, and revisions, threads and the like.
    pub made_by: String,
    /// What makes it again.
    pub command: String,
    pub sections: Vec<Section>,
}

/// Writes the report of a study into its folder.
pub fn write(
    out: &Path,
    plan: &Plan,
    ledger: &Ledger,
    analysis: &Analysis,
    command: &str,
) -> Result<Files, Failure> {
    let document = document(plan, ledger, analysis, &format!("{command} --out {}", shown(out)));
    let figures = out.join(FIGURES_FOLDER);
    let unwritable = |source| RunlogError::Write { path: figures.clone(), source };
    std::fs::create_dir_all(&figures).map_err(unwritable)?;
    for figure in document.sections.iter().flat_map(|section| &section.figures) {
        write_atomic(&figures.join(format!("{}.svg", figure.name)), figure.svg.as_bytes())?;
    }
    let (html, markdown) = (out.join(HTML_FILE), out.join(MARKDOWN_FILE));
    write_atomic(&html, html::render(&document).as_bytes())?;
    write_atomic(&markdown, markdown::render(&document).as_bytes())?;
    let first = document.sections.iter().flat_map(|section| &section.tables).next();
    Ok(Files { html, markdown, table: first.map(Table::plain).unwrap_or_default() })
}

/// A folder's name without where it lies: reports are shown to others.
fn shown(out: &Path) -> String {
    match out.is_absolute() {
        true => out.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        false => out.display().to_string(),
    }
}

fn document<'a>(plan: &'a Plan, ledger: &Ledger, analysis: &'a Analysis, command: &str) -> Document<'a> {
    let scalings = scalings(plan, ledger);
    let mut sections: Vec<Section> = analysis
        .tasks
        .iter()
        .enumerate()
        .map(|(at, task)| Section {
            title: if analysis.tasks.len() > 1 { task.name.clone() } else { "Scores".into() },
            words: tables::reading(task, plan),
            tables: [Some(tables::cells(task, plan)), tables::effects(task), tables::contexts(task, plan)]
                .into_iter()
                .flatten()
                .collect(),
            figures: figures::of_task(at, task, plan),
        })
        .collect();
    sections.extend(analysis.ranks.as_ref().map(|ranks| {
        let agreement = ranks.agreement.map_or(String::new(), |w| {
            format!("Kendall's W = {w:.2}: 1 if all tasks rank the cells alike, 0 if their ranks have nothing in common.")
        });
        let words = vec![
            "Cells that have a score on every task, by the mean of their ranks. Ranks ignore how far apart scores are, and whether seeds can tell them apart at all.".into(),
            agreement,
        ];
        Section { title: "Ranks over tasks".into(), words, tables: vec![tables::ranks(ranks)], figures: Vec::new() }
    }));
    sections.extend(scaling::section(&scalings));
    sections.extend(kernels::section(plan));
    sections.extend(tables::failures(analysis));
    sections.extend(tables::exclusions(plan));
    Document { plan, analysis, made_by: made_by(plan, ledger, &scalings), command: command.into(), sections }
}

/// Seeds, versions and machine, as far as the results know them.
fn made_by(plan: &Plan, ledger: &Ledger, _: &[Scaling]) -> String {
    let rows = plan.runs.iter().filter_map(|run| ledger.row(&run.id));
    let mut makers: Vec<String> = rows
        .map(|row| {
            let revision = row.revision.as_ref().map_or(String::new(), |revision| format!(" ({revision})"));
            let plural = if row.threads == 1 { "" } else { "s" };
            format!("relin {}{revision}, {} thread{plural} a run", row.version, row.threads)
        })
        .collect();
    makers.sort();
    makers.dedup();
    let seconds: f64 = plan.runs.iter().filter_map(|run| ledger.row(&run.id)?.measured.seconds).sum();
    let seeds: Vec<String> = plan.study.seeds.iter().map(u64::to_string).collect();
    let spent = crate::progress::in_words(seconds);
    format!("seeds {}; {}; {spent} of runs in all", seeds.join(", "), makers.join("; "))
}
