//! Differences with their intervals, a row each, beside the line where there is none.

use super::Scale;
use super::axis::Axis;
use super::svg::{self, escape, put};
use std::fmt::Write;

const TOP: f64 = 66.0;
const BELOW: f64 = 56.0;
const ROW: f64 = 22.0;
const WIDTH: f64 = 720.0;
const RIGHT: f64 = 24.0;
/// A letter's width, and after how many letters names are cut.
const LETTER: f64 = 7.0;
const LONGEST: usize = 44;

/// A difference.
#[derive(Clone, Debug)]
pub struct Difference {
    pub name: String,
    pub mean: f64,
    /// Half of its interval; none if nothing is known of it.
    pub half_width: Option<f64>,
    /// Of the single pairs.
    pub pairs: Vec<f64>,
    /// Index of the colour.
    pub colour: usize,
}

/// Differences, a row each.
#[derive(Clone, Debug)]
pub struct Forest {
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    pub x_label: String,
    pub rows: Vec<Difference>,
}

impl Forest {
    /// The drawing as an SVG document.
    pub fn svg(&self) -> String {
        let names: Vec<String> = self.rows.iter().map(|row| shortened(&row.name)).collect();
        let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64;
        let (left, bottom) = (32.0 + LETTER * widest, TOP + ROW * self.rows.len() as f64);
        let x = Axis::new(self.reach(), Scale::Linear, (left + 8.0, WIDTH - RIGHT - 8.0), 6);
        let mut out = String::new();
        svg::head(&mut out, &self.title, (WIDTH, bottom + BELOW), |_| String::new());
        put!(out, r#"<text class="ink title" x="22" y="28">{}</text>"#, escape(&self.title));
        put!(out, r#"<text class="pale" x="22" y="49">{}</text>"#, escape(&self.subtitle));
        for (value, label) in &x.ticks {
            let at = x.at(*value);
            put!(out, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"/>"#);
            let base = bottom + 19.0;
            put!(out, r#"<text class="pale" x="{at:.1}" y="{base}" text-anchor="middle">{label}</text>"#);
        }
        let zero = x.at(0.0);
        put!(out, r#"<line class="axis" x1="{zero:.1}" x2="{zero:.1}" y1="{TOP}" y2="{bottom}"/>"#);
        for (at, (row, name)) in self.rows.iter().zip(&names).enumerate() {
            let y = TOP + (at as f64 + 0.5) * ROW;
            let (end, base) = (left - 8.0, y + 4.5);
            put!(
                out,
                r#"<text class="ink" x="{end:.1}" y="{base:.1}" text-anchor="end">{}</text>"#,
                escape(name)
            );
            difference(&mut out, row, &x, y);
        }
        let (middle, low) = ((left + WIDTH - RIGHT) / 2.0, bottom + BELOW - 14.0);
        put!(
            out,
            r#"<text class="pale" x="{middle:.1}" y="{low:.1}" text-anchor="middle">{}</text>"#,
            escape(&self.x_label)
        );
        out.push_str("</svg>\n");
        out
    }

    /// Everything that has to be seen, zero included. Intervals may be so wide that the differences would vanish beside
    /// them, so they count for no more than three times the farthest point.
    fn reach(&self) -> impl Iterator<Item = f64> {
        let points = self.rows.iter().flat_map(|row| row.pairs.iter().copied().chain([row.mean]));
        let farthest = points.clone().map(f64::abs).fold(0.0, f64::max);
        let ends = self.rows.iter().filter_map(|row| Some((row.mean, row.half_width?)));
        let ends = ends.flat_map(|(mean, half)| [mean - half, mean + half]);
        let most = 3.0 * farthest;
        points.chain(ends.map(|end| end.clamp(-most, most))).chain([0.0]).collect::<Vec<_>>().into_iter()
    }
}

fn difference(out: &mut String, row: &Difference, x: &Axis, y: f64) {
    let colour = row.colour;
    if let Some(half) = row.half_width {
        let inside = |value: f64| x.at(value).clamp(x.at(x.low()), x.at(x.high()));
        let (from, to) = (inside(row.mean - half), inside(row.mean + half));
        put!(out, r#"<line class="c{colour} solid" x1="{from:.1}" x2="{to:.1}" y1="{y:.1}" y2="{y:.1}"/>"#);
    }
    for pair in &row.pairs {
        put!(out, r#"<circle class="f{colour}" cx="{:.1}" cy="{y:.1}" r="2" opacity="0.5"/>"#, x.at(*pair));
    }
    put!(out, r#"<circle class="f{colour}" cx="{:.1}" cy="{y:.1}" r="4.2"/>"#, x.at(row.mean));
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mean: f64, half_width: Option<f64>) -> Difference {
        Difference { name: "a <b>".into(), mean, half_width, pairs: vec![mean - 0.1, mean + 0.1], colour: 1 }
    }

    fn drawn(rows: Vec<Difference>) -> String {
        let forest = Forest { title: "t".into(), subtitle: "s".into(), x_label: "x".into(), rows };
        forest.svg()
    }

    #[test]
    fn a_row_has_its_points_its_interval_and_its_name() {
        let svg = drawn(vec![row(1.0, Some(0.5)), row(-1.0, None)]);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert_eq!(svg.matches(r#"class="c1 solid""#).count(), 1);
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("NaN"));
    }

    #[test]
    fn intervals_that_know_nothing_do_not_hide_the_points() {
        let svg = drawn(vec![row(0.5, Some(1e6)), row(1.0, Some(0.1))]);
        let across = |circle: &str| circle.split('"').next().unwrap().parse::<f64>().unwrap();
        let (means, all): (Vec<&str>, Vec<&str>) =
            svg.split("cx=\"").skip(1).partition(|circle| circle.contains(r#"r="4.2""#));
        assert!(all.iter().chain(&means).all(|circle| (60.0..WIDTH).contains(&across(circle))), "{svg}");
        assert!(across(means[1]) - across(means[0]) > 30.0, "{svg}");
        assert!(!drawn(Vec::new()).contains("NaN"));
    }
}
