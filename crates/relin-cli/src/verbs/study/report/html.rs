//! `report.html`: one file that needs nothing else.

use std::fmt::Write;

use super::tables::{Entry, Table};
use super::{Document, Figure, Section};
use crate::plot::escape;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Writing into a string cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => { let _ = writeln!($out, $($what)*); };
}

pub fn render(document: &Document) -> String {
    let study = &document.plan.study;
    let mut out = String::new();
    put!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">");
    put!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(out, "<meta name=\"color-scheme\" content=\"light dark\">");
    // Nothing may be asked for from anywhere: the icon, too, is here.
    put!(out, "<link rel=\"icon\" href=\"data:,\">");
    put!(out, "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>", escape(&study.title));
    put!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"question\">{}</p>",
        escape(&study.title),
        escape(&study.question)
    );
    put!(
        out,
        "<p class=\"made\">Size {}; {}.</p>\n</header>",
        escape(&study.size),
        escape(&document.made_by)
    );
    put!(out, "<main>");
    warnings(&mut out, &document.analysis.warnings);
    contents(&mut out, &document.sections);
    for (at, part) in document.sections.iter().enumerate() {
        section(&mut out, at, part, &document.command);
    }
    put!(out, "<section aria-labelledby=\"again\">\n<h2 id=\"again\">Again</h2>");
    put!(
        out,
        "<p>This page is made from <code>results.jsonl</code> beside it, in which every run has its complete recipe and its own command, by</p>"
    );
    put!(out, "<pre tabindex=\"0\"><code>{}</code></pre>\n</section>", escape(&document.command));
    put!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>");
    out
}

fn warnings(out: &mut String, warnings: &[String]) {
    if warnings.is_empty() {
        return;
    }
    put!(
        out,
        "<section class=\"notes\" aria-labelledby=\"first\">\n<h2 id=\"first\">Before you read on</h2>\n<ul>"
    );
    for warning in warnings {
        put!(out, "<li>{}.</li>", escape(warning));
    }
    put!(out, "</ul>\n</section>");
}

fn contents(out: &mut String, sections: &[Section]) {
    if sections.len() < 2 {
        return;
    }
    put!(out, "<nav aria-label=\"Contents\">\n<ul>");
    for (at, section) in sections.iter().enumerate() {
        put!(out, "<li><a href=\"#part-{at}\">{}</a></li>", escape(&section.title));
    }
    put!(out, "</ul>\n</nav>");
}

fn section(out: &mut String, at: usize, section: &Section, command: &str) {
    put!(
        out,
        "<section aria-labelledby=\"part-{at}\">\n<h2 id=\"part-{at}\">{}</h2>",
        escape(&section.title)
    );
    for words in section.words.iter().filter(|words| !words.is_empty()) {
        put!(out, "<p>{}</p>", escape(words));
    }
    section.tables.iter().for_each(|own| table(out, own));
    section.figures.iter().for_each(|own| figure(out, own, command));
    put!(out, "</section>");
}

/// The columns' names are buttons that sort; what is wider than a screen scrolls by itself.
fn table(out: &mut String, table: &Table) {
    let caption = escape(&table.caption);
    put!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n<table class=\"sortable\">"
    );
    put!(out, "<caption>{caption}</caption>\n<thead><tr>");
    for column in &table.columns {
        let class = if column.numeric { " class=\"number\"" } else { "" };
        put!(out, "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>", escape(&column.name));
    }
    put!(out, "</tr></thead>\n<tbody>");
    for row in &table.rows {
        let _ = write!(out, "<tr>");
        row.iter().zip(&table.columns).for_each(|(own, column)| entry(out, own, column.numeric));
        put!(out, "</tr>");
    }
    put!(out, "</tbody>\n</table>\n</div>");
}

fn entry(out: &mut String, entry: &Entry, numeric: bool) {
    let class = if numeric { " class=\"number\"" } else { "" };
    let value = entry.value.map_or(String::new(), |value| format!(" data-value=\"{value}\""));
    let text = escape(&entry.text);
    let text = if entry.strong { format!("<strong>{text}</strong>") } else { text };
    let _ = write!(out, "<td{class}{value}>{text}</td>");
}

/// Drawn in place: a name space, which only a file of its own needs, would be an address.
fn figure(out: &mut String, figure: &Figure, command: &str) {
    let svg = figure.svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    let caption = escape(&figure.caption);
    put!(
        out,
        "<figure>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Figure {}\">\n{svg}</div>",
        escape(&figure.name)
    );
    put!(
        out,
        "<figcaption>{caption} <details><summary>Command</summary><code>{}</code> writes figures/{}.svg</details></figcaption>\n</figure>",
        escape(command),
        escape(&figure.name)
    );
}
