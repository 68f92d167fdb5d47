//! Numbers of two sets of names, coloured by how far they lie from zero.

use super::heat::{self, LEVELS};
use super::svg::{self, escape, put};
use std::fmt::Write;

const TOP: f64 = 66.0;
const HEIGHT: f64 = 30.0;
const BELOW: f64 = 40.0;
const LETTER: f64 = 7.2;
/// The least width of a cell and of a page.
const NARROW: f64 = 74.0;
const NARROWEST: f64 = 480.0;

/// A table of numbers as a drawing.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// For each row, one a column: what colours it, from −1 to 1, and what stands in it. None where there is none.
    pub cells: Vec<Vec<Option<(f64, String)>>>,
}

impl Matrix {
    /// The drawing as an SVG document.
    pub fn svg(&self) -> String {
        let wide = |names: &[String]| {
            names.iter().map(|name| name.chars().count()).max().unwrap_or(1) as f64 * LETTER
        };
        let texts: Vec<String> =
            self.cells.iter().flatten().flatten().map(|(_, text)| text.clone()).collect();
        let cell = (wide(&self.columns).max(wide(&texts)) + 14.0).max(NARROW);
        let left = 30.0 + wide(&self.rows);
        let width = (left + cell * self.columns.len() as f64 + 22.0).max(NARROWEST);
        let bottom = TOP + HEIGHT * self.rows.len() as f64;
        let mut out = String::new();
        svg::head(&mut out, &self.title, (width, bottom + BELOW), heat::theme);
        put!(out, r#"<text class="ink title" x="22" y="28">{}</text>"#, escape(&self.title));
        put!(out, r#"<text class="pale" x="22" y="49">{}</text>"#, escape(&self.subtitle));
        for (at, (name, row)) in self.rows.iter().zip(&self.cells).enumerate() {
            let y = TOP + at as f64 * HEIGHT;
            let (end, base) = (left - 8.0, y + HEIGHT / 2.0 + 4.5);
            put!(
                out,
                r#"<text class="ink" x="{end:.1}" y="{base:.1}" text-anchor="end">{}</text>"#,
                escape(name)
            );
            for (column, value) in row.iter().enumerate() {
                number(&mut out, value.as_ref(), (left + column as f64 * cell, y), cell);
            }
        }
        for (column, name) in self.columns.iter().enumerate() {
            let (x, y) = (left + (column as f64 + 0.5) * cell, bottom + 20.0);
            put!(
                out,
                r#"<text class="ink" x="{x:.1}" y="{y:.1}" text-anchor="middle">{}</text>"#,
                escape(name)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn number(out: &mut String, value: Option<&(f64, String)>, (x, y): (f64, f64), cell: f64) {
    let (middle, base) = (x + cell / 2.0 - 0.5, y + HEIGHT / 2.0 + 4.5);
    let Some((share, text)) = value else {
        put!(out, r#"<text class="pale" x="{middle:.1}" y="{base:.1}" text-anchor="middle">–</text>"#);
        return;
    };
    let level = (LEVELS as f64 * (1.0 + share.clamp(-1.0, 1.0))).round() as usize;
    let (width, height) = (cell - 1.0, HEIGHT - 1.0);
    put!(out, r#"<rect class="h{level}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#);
    let ink = if level.abs_diff(LEVELS) >= 5 { "page" } else { "ink" };
    put!(
        out,
        r#"<text class="{ink}" x="{middle:.1}" y="{base:.1}" text-anchor="middle">{}</text>"#,
        escape(text)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_coloured_and_gaps_are_left() {
        let matrix = Matrix {
            title: "t".into(),
            subtitle: "s".into(),
            rows: vec!["a".into(), "b".into()],
            columns: vec!["x".into(), "y".into()],
            cells: vec![
                vec![Some((-1.0, "-2".into())), Some((0.0, "0".into()))],
                vec![None, Some((9.0, "9".into()))],
            ],
        };
        let svg = matrix.svg();
        for class in ["h0", "h8", "h16"] {
            assert_eq!(svg.matches(&format!(r#"<rect class="{class}""#)).count(), 1, "{class}");
        }
        assert!(svg.contains(">–<") && svg.contains(">-2<"));
    }
}
