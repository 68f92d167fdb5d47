//! A table of numbers as colours.

use std::fmt::Write;

use super::Scale;
use super::axis::Axis;
use super::svg::{Frame, grid, labels, put};

/// Colours on either side of zero.
pub(super) const LEVELS: usize = 8;
/// Of the most negative number, zero, and the most positive one, on light and on dark pages.
const LIGHT: [[u8; 3]; 3] = [[0x1d, 0x4f, 0x91], [0xf2, 0xf3, 0xf5], [0xb0, 0x3a, 0x06]];
const DARK: [[u8; 3]; 3] = [[0x7c, 0xbc, 0xff], [0x22, 0x27, 0x2e], [0xff, 0xa6, 0x66]];
/// Room for the colours' scale.
const SCALE: f64 = 52.0;

/// Rows of numbers over a common horizontal axis, coloured from −`limit` to `limit`.
#[derive(Clone, Debug)]
pub struct HeatMap {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    /// Of the columns, evenly spaced.
    pub x: Vec<f64>,
    /// Value of the axis, and the numbers.
    pub rows: Vec<(f64, Vec<f64>)>,
    pub limit: f64,
}

impl HeatMap {
    /// The map within its frame, whose corner is the origin.
    pub(super) fn body(&self, svg: &mut String, frame: Frame) {
        let frame = Frame { right: frame.right - SCALE, top: frame.top - 10.0, ..frame };
        let Frame { left, right, top, bottom, .. } = frame;
        labels(svg, frame, &self.title, &self.x_label, &self.y_label);
        let cell = ((right - left) / self.x.len() as f64, (bottom - top) / self.rows.len() as f64);
        let (across, along) =
            ((left + cell.0 / 2.0, right - cell.0 / 2.0), (top + cell.1 / 2.0, bottom - cell.1 / 2.0));
        let x = Axis::new(self.x.iter().copied(), Scale::Linear, across, 8);
        let y = Axis::new(self.rows.iter().map(|row| row.0), Scale::Linear, along, 6);
        grid(svg, frame, &x, &y);
        put!(
            svg,
            r#"<rect class="h{LEVELS}" x="{left}" y="{top}" width="{:.1}" height="{:.1}"/>"#,
            right - left,
            bottom - top
        );
        self.cells(svg, (left, top), cell);
        self.scale(svg, frame);
    }

    /// One path for each level: the runs of cells that have it.
    fn cells(&self, svg: &mut String, (left, top): (f64, f64), (width, height): (f64, f64)) {
        let mut paths = vec![String::new(); 2 * LEVELS + 1];
        for (i, (_, row)) in self.rows.iter().enumerate() {
            let levels: Vec<usize> = row.iter().map(|value| level(*value, self.limit)).collect();
            let mut from = 0;
            for run in levels.chunk_by(|a, b| a == b) {
                let (x, y) = (left + from as f64 * width, top + i as f64 * height);
                // A little more, so that rounding leaves no gap before the next run.
                let wide = run.len() as f64 * width + 0.3;
                let _ = write!(paths[run[0]], "M{x:.1} {y:.1}h{wide:.1}v{height:.2}h-{wide:.1}z");
                from += run.len();
            }
        }
        for (level, path) in
            paths.iter().enumerate().filter(|(level, path)| *level != LEVELS && !path.is_empty())
        {
            put!(svg, r#"<path class="h{level}" shape-rendering="crispEdges" d="{path}"/>"#);
        }
    }

    fn scale(&self, svg: &mut String, Frame { right, top, bottom, .. }: Frame) {
        let (x, height) = (right + 12.0, (bottom - top) / (2 * LEVELS + 1) as f64);
        for level in 0..=2 * LEVELS {
            let y = bottom - (level + 1) as f64 * height;
            put!(svg, r#"<rect class="h{level}" x="{x}" y="{y:.1}" width="12" height="{height:.2}"/>"#);
        }
        for (value, y) in [(self.limit, top), (0.0, (top + bottom) / 2.0), (-self.limit, bottom)] {
            let text = format!("{value:.2}");
            put!(svg, r#"<text class="pale" x="{}" y="{:.1}">{text}</text>"#, x + 18.0, y + 4.5);
        }
    }
}

fn level(value: f64, limit: f64) -> usize {
    let share = if value.is_finite() { (value / limit).clamp(-1.0, 1.0) } else { 0.0 };
    (LEVELS as f64 * (1.0 + share)).round() as usize
}

/// The rules of the levels' colours.
pub(super) fn theme(dark: bool) -> String {
    let [low, middle, high] = if dark { DARK } else { LIGHT };
    let mut rules = String::new();
    for level in 0..=2 * LEVELS {
        let share = level as f64 / LEVELS as f64 - 1.0;
        let end = if share < 0.0 { low } else { high };
        let mixed: Vec<String> = (0..3)
            .map(|i| {
                let (from, to) = (f64::from(middle[i]), f64::from(end[i]));
                format!("{:02x}", (from + share.abs() * (to - from)).round() as u8)
            })
            .collect();
        let _ = write!(rules, ".h{level} {{ fill: #{}; }} ", mixed.concat());
    }
    rules.push('\n');
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_run_from_end_to_end() {
        for (value, expected) in
            [(-2.0, 0), (-1.0, 0), (0.0, LEVELS), (0.01, LEVELS), (1.0, 16), (f64::NAN, LEVELS)]
        {
            assert_eq!(level(value, 1.0), expected, "{value}");
        }
        assert!(
            theme(false).contains(".h0 { fill: #1d4f91; }") && theme(true).contains(".h8 { fill: #22272e; }")
        );
    }

    #[test]
    fn runs_of_equal_cells_are_one_rectangle() {
        let map = HeatMap {
            title: "t".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            x: vec![0.0, 1.0, 2.0, 3.0],
            rows: vec![(0.0, vec![1.0, 1.0, 0.0, -1.0]), (1.0, vec![0.0; 4])],
            limit: 1.0,
        };
        let mut svg = String::new();
        map.body(&mut svg, Frame::PANEL);
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
    }
}
