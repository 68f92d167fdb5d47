//! `summary.md`.

use std::fmt::Write;

use super::tables::{Entry, Table};
use super::{Document, FIGURES_FOLDER, Section};

pub fn render(document: &Document) -> String {
    let study = &document.plan.study;
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n\n{}\n", study.title, study.question);
    let _ = writeln!(out, "Size `{}`; {}.\n", study.size, document.made_by);
    for warning in &document.analysis.warnings {
        let _ = writeln!(out, "> **Note**: {warning}.\n");
    }
    for section in &document.sections {
        write_section(&mut out, section);
    }
    let _ = writeln!(
        out,
        "## Again\n\nThis page and its figures are made from `results.jsonl`, in which every run has its recipe and its command, by\n\n```sh\n{}\n```",
        document.command
    );
    out
}

fn write_section(out: &mut String, section: &Section) {
    let _ = writeln!(out, "## {}\n", section.title);
    for words in section.words.iter().filter(|words| !words.is_empty()) {
        let _ = writeln!(out, "{words}\n");
    }
    for table in &section.tables {
        write_table(out, table);
    }
    for figure in &section.figures {
        let alternative = escape(figure.caption.split(['.', ':']).next().unwrap_or_default());
        let name = &figure.name;
        let _ = writeln!(out, "![{alternative}]({FIGURES_FOLDER}/{name}.svg)\n\n{}\n", figure.caption);
    }
}

fn write_table(out: &mut String, table: &Table) {
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let names = table.columns.iter().map(|column| escape(&column.name)).collect();
    let rule = table.columns.iter().map(|column| if column.numeric { "--:" } else { "---" });
    let _ = writeln!(
        out,
        "{}:\n\n{}\n|{}|",
        escape(&table.caption),
        line(names),
        rule.collect::<Vec<_>>().join("|")
    );
    for row in &table.rows {
        let _ = writeln!(out, "{}", line(row.iter().map(entry).collect()));
    }
    out.push('\n');
}

fn entry(entry: &Entry) -> String {
    let text = escape(&entry.text);
    if entry.strong { format!("**{text}**") } else { text }
}

/// What a table would take for its own.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
