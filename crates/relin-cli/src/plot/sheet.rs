//! Several charts on one page, two a row.

use super::svg::{self, Frame, escape, put};
use super::{Chart, HeatMap, heat};
use std::fmt::Write;

const COLUMNS: usize = 2;
/// Height of the page's own title.
const HEADER: f64 = 58.0;
const MARGIN: f64 = 12.0;

/// A part of a [`Sheet`].
#[derive(Clone, Debug)]
pub enum Panel {
    Chart(Chart),
    Heat(HeatMap),
}

/// Several charts on one page.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    pub panels: Vec<Panel>,
}

impl Sheet {
    /// The page as an SVG document.
    pub fn svg(&self) -> String {
        let frame = Frame::PANEL;
        let rows = self.panels.len().div_ceil(COLUMNS);
        let size = (COLUMNS as f64 * frame.width + MARGIN, HEADER + rows as f64 * frame.height + MARGIN);
        let mut out = String::new();
        svg::head(&mut out, &self.title, size, heat::theme);
        put!(out, r#"<text class="ink title" x="22" y="28">{}</text>"#, escape(&self.title));
        put!(out, r#"<text class="pale" x="22" y="50">{}</text>"#, escape(&self.subtitle));
        for (i, panel) in self.panels.iter().enumerate() {
            let (x, y) = ((i % COLUMNS) as f64 * frame.width, HEADER + (i / COLUMNS) as f64 * frame.height);
            put!(out, r#"<g transform="translate({x} {y})">"#);
            match panel {
                Panel::Chart(chart) => svg::body(&mut out, chart, frame),
                Panel::Heat(map) => map.body(&mut out, frame),
            }
            put!(out, "</g>");
        }
        out.push_str("</svg>\n");
        out
    }
}
