//! The chart as an SVG document: one style sheet, which turns dark with the page.

use std::fmt::Write;

use super::axis::Axis;
use super::{Chart, Line, Scale, Style};

/// A drawing's size, and where its plot lies in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    /// Where the legend has a line of its own below the title; else it finds room.
    pub legend: Option<f64>,
}

impl Frame {
    /// A chart alone on its page.
    const PAGE: Self = Self::new((720.0, 420.0), (68.0, 48.0), None);
    /// One of several on a page.
    pub const PANEL: Self = Self::new((480.0, 340.0), (76.0, 58.0), Some(46.0));

    const fn new((width, height): (f64, f64), (left, top): (f64, f64), legend: Option<f64>) -> Self {
        Self { width, height, left, right: width - 24.0, top, bottom: height - 56.0, legend }
    }

    /// With room above the plot for a legend that does not fit beside the title.
    fn below_legend(self, chart: &Chart) -> Self {
        let entries = chart.legend();
        if fits_beside_the_title(chart, &entries, self) {
            return self;
        }
        let rows = rows(&entries, self.right - self.left).len() as f64 * LEGEND_ROW;
        let Self { height, top, bottom, .. } = self;
        Self { height: height + rows, top: top + rows, bottom: bottom + rows, ..self }
    }
}

/// Colours that keep apart for the colour-blind, for light and for dark pages.
const LIGHT: [&str; 6] = ["#2563a8", "#c2410c", "#15803d", "#7e3fae", "#8a6d00", "#0e7c86"];
const DARK: [&str; 6] = ["#6cb0f5", "#fb9a5c", "#5fd38a", "#c79af0", "#e3c54a", "#56cfd8"];

pub(super) fn render(chart: &Chart) -> String {
    let mut svg = String::new();
    let frame = Frame::PAGE.below_legend(chart);
    head(&mut svg, &chart.title, (frame.width, frame.height), |_| String::new());
    body(&mut svg, chart, frame);
    svg.push_str("</svg>\n");
    svg
}

/// The chart within its frame, whose corner is the origin.
pub(super) fn body(svg: &mut String, chart: &Chart, frame: Frame) {
    let points = || chart.lines.iter().flat_map(|line| line.points.iter());
    let (across, along) = ((frame.left + 8.0, frame.right - 8.0), (frame.bottom - 8.0, frame.top + 8.0));
    let mut x = Axis::new(points().map(|point| point.0), chart.x_scale, across, 8);
    if !chart.x_ticks.is_empty() {
        x.ticks = chart.x_ticks.iter().map(|&at| (at, at.to_string())).collect();
    }
    let y = Axis::new(points().map(|point| point.1), chart.y_scale, along, 6);
    labels(svg, frame, &chart.title, &chart.x_label, &chart.y_label);
    grid(svg, frame, &x, &y);
    for line in &chart.lines {
        series(svg, line, (chart.x_scale, chart.y_scale), &x, &y);
    }
    legend(svg, chart, frame);
}

/// Writing into a string cannot fail.
macro_rules! put {
    ($svg:expr, $($what:tt)*) => { let _ = writeln!($svg, $($what)*); };
}
pub(super) use put;

/// The document's beginning: style sheet and page. `more` is added to both themes' rules.
pub(super) fn head(
    svg: &mut String,
    title: &str,
    (width, height): (f64, f64),
    more: impl Fn(bool) -> String,
) {
    put!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#
    );
    put!(svg, "<title>{}</title>\n<style>", escape(title));
    put!(svg, "text {{ font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }}");
    put!(svg, ".title {{ font-size: 16px; font-weight: 600; }}");
    put!(svg, "polyline {{ fill: none; stroke-linejoin: round; stroke-linecap: round; }}");
    put!(
        svg,
        ".solid {{ stroke-width: 2.2; }} .faint {{ stroke-width: 1; opacity: 0.35; }} .dots {{ stroke-width: 1.4; }}"
    );
    put!(svg, "polygon {{ opacity: 0.22; }} .bar {{ stroke-width: 9; stroke-linecap: butt; }}");
    theme(svg, "#ffffff", "#1f2430", "#5b6270", "#e3e6ea", &LIGHT);
    svg.push_str(&more(false));
    put!(svg, "@media (prefers-color-scheme: dark) {{");
    theme(svg, "#14171c", "#e6e9ee", "#a3abb8", "#2b3038", &DARK);
    svg.push_str(&more(true));
    put!(svg, "}}\n</style>");
    put!(svg, r#"<rect class="page" width="{width}" height="{height}"/>"#);
}

/// Title and axes in words.
pub(super) fn labels(svg: &mut String, frame: Frame, title: &str, x_label: &str, y_label: &str) {
    let Frame { left, right, top, bottom, height, .. } = frame;
    put!(svg, r#"<text class="ink title" x="{left}" y="28">{}</text>"#, escape(title));
    let (middle, low) = ((left + right) / 2.0, height - 14.0);
    put!(svg, r#"<text class="pale" x="{middle}" y="{low}" text-anchor="middle">{}</text>"#, escape(x_label));
    let centre = (top + bottom) / 2.0;
    put!(
        svg,
        r#"<text class="pale" transform="translate(18 {centre}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escape(y_label)
    );
}

fn theme(svg: &mut String, page: &str, ink: &str, pale: &str, grid: &str, colours: &[&str]) {
    put!(
        svg,
        ".page {{ fill: {page}; }} .ink {{ fill: {ink}; }} .pale {{ fill: {pale}; }} .grid {{ stroke: {grid}; }}"
    );
    put!(svg, ".axis {{ stroke: {pale}; }}");
    for (i, colour) in colours.iter().enumerate() {
        put!(svg, ".c{i} {{ stroke: {colour}; }} .f{i} {{ fill: {colour}; }}");
    }
}

pub(super) fn grid(svg: &mut String, frame: Frame, x: &Axis, y: &Axis) {
    let Frame { left, right, top, bottom, .. } = frame;
    for (value, label) in &y.ticks {
        let at = y.at(*value);
        put!(svg, r#"<line class="grid" x1="{left}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/>"#);
        let (end, base) = (left - 8.0, at + 4.5);
        put!(svg, r#"<text class="pale" x="{end}" y="{base:.1}" text-anchor="end">{label}</text>"#);
    }
    for (value, label) in &x.ticks {
        let at = x.at(*value);
        put!(svg, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{top}" y2="{bottom}"/>"#);
        let base = bottom + 19.0;
        put!(svg, r#"<text class="pale" x="{at:.1}" y="{base}" text-anchor="middle">{label}</text>"#);
    }
    put!(svg, r#"<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>"#);
}

fn series(svg: &mut String, line: &Line, scales: (Scale, Scale), x: &Axis, y: &Axis) {
    let colour = line.colour % LIGHT.len();
    let class = match line.style {
        Style::Solid => "solid",
        Style::Faint => "faint",
        Style::Dots | Style::Points => "dots",
        Style::Bar => "bar",
        Style::Band => return band(svg, colour, &line.points, x, y),
    };
    // A point that has no place, such as a diverged loss, is a gap.
    let has_place = |value: f64, scale| value.is_finite() && (scale == Scale::Linear || value > 0.0);
    let placed = |point: &(f64, f64)| has_place(point.0, scales.0) && has_place(point.1, scales.1);
    for stretch in line.points.split(|point| !placed(point)) {
        let mut path = String::new();
        for (px, py) in stretch {
            let _ = write!(path, "{:.1},{:.1} ", x.at(*px), y.at(*py));
        }
        if stretch.len() > 1 && line.style != Style::Points {
            put!(svg, r#"<polyline class="c{colour} {class}" points="{}"/>"#, path.trim_end());
        }
        let opacity = if line.style == Style::Points { r#" opacity="0.4""# } else { "" };
        if matches!(line.style, Style::Dots | Style::Points) || stretch.len() == 1 {
            for (px, py) in stretch {
                let (px, py) = (x.at(*px), y.at(*py));
                put!(svg, r#"<circle class="f{colour}" cx="{px:.1}" cy="{py:.1}" r="3.4"{opacity}/>"#);
            }
        }
    }
}

/// The area that a run of points encloses.
fn band(svg: &mut String, colour: usize, points: &[(f64, f64)], x: &Axis, y: &Axis) {
    let mut path = String::new();
    for (px, py) in points.iter().filter(|point| point.0.is_finite() && point.1.is_finite()) {
        let _ = write!(path, "{:.1},{:.1} ", x.at(*px), y.at(*py));
    }
    put!(svg, r#"<polygon class="f{colour}" points="{}"/>"#, path.trim_end());
}

/// Widths of letters are unknown here; these are enough for the two fonts.
const LETTER: f64 = 7.0;
const TITLE_LETTER: f64 = 9.0;
/// A sample of the line before its label, and room after it.
const SAMPLE: f64 = 46.0;

/// Height of a line of a legend.
const LEGEND_ROW: f64 = 20.0;

impl Chart {
    /// The lines that have a name, and points to name.
    fn legend(&self) -> Vec<&Line> {
        self.lines.iter().filter(|line| !line.label.is_empty() && !line.points.is_empty()).collect()
    }
}

fn width_of(line: &Line) -> f64 {
    LETTER * line.label.chars().count() as f64 + SAMPLE
}

fn fits_beside_the_title(chart: &Chart, entries: &[&Line], frame: Frame) -> bool {
    let title = TITLE_LETTER * chart.title.chars().count() as f64;
    entries.iter().map(|line| width_of(line)).sum::<f64>() <= frame.right - frame.left - title
}

/// As many entries a row as the width has room for; at least one.
fn rows<'a>(entries: &[&'a Line], width: f64) -> Vec<Vec<&'a Line>> {
    let mut rows: Vec<Vec<&Line>> = Vec::new();
    let mut left = 0.0;
    for &line in entries {
        let own = width_of(line);
        match rows.last_mut() {
            Some(row) if own <= left => row.push(line),
            _ => {
                rows.push(vec![line]);
                left = width;
            }
        }
        left -= own;
    }
    rows
}

/// In the frame's own line; without one, at the upper right, over the title's line; a long one in rows below the title.
fn legend(svg: &mut String, chart: &Chart, frame: Frame) {
    let Frame { left, right, .. } = frame;
    let lines = chart.legend();
    let row = |svg: &mut String, lines: &[&Line], start: f64, base: f64| {
        lines.iter().fold(start, |start, line| {
            entry(svg, line, start, base);
            start + width_of(line)
        });
    };
    if let Some(base) = frame.legend {
        row(svg, &lines, left + 28.0, base);
    } else if fits_beside_the_title(chart, &lines, frame) {
        let all: f64 = lines.iter().map(|line| width_of(line)).sum();
        row(svg, &lines, right - all + SAMPLE, 28.0);
    } else {
        for (at, lines) in rows(&lines, right - left).iter().enumerate() {
            row(svg, lines, left + 28.0, 50.0 + LEGEND_ROW * at as f64);
        }
    }
}

/// A label at `start` and the sample before it.
fn entry(svg: &mut String, line: &Line, start: f64, base: f64) {
    let colour = line.colour % LIGHT.len();
    put!(svg, r#"<text class="ink" x="{start:.1}" y="{base:.1}">{}</text>"#, escape(&line.label));
    let (from, to, middle) = (start - 28.0, start - 8.0, base - 4.5);
    if matches!(line.style, Style::Dots | Style::Points) {
        put!(svg, r#"<circle class="f{colour}" cx="{:.1}" cy="{middle:.1}" r="3.4"/>"#, (from + to) / 2.0);
    }
    if line.style == Style::Points {
        return;
    }
    let class = if line.style == Style::Faint { "faint" } else { "solid" };
    put!(
        svg,
        r#"<line class="c{colour} {class}" x1="{from:.1}" x2="{to:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#
    );
}

/// Text that XML and HTML take as text.
pub fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML allows no other control characters, not even escaped.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart::new("a <b> & \"c\"\u{7}", "x", "y").line(Line::new("l<l", 0, Style::Solid, points))
    }

    #[test]
    fn text_is_escaped() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 2.0)]).svg();
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot; ") && svg.contains("l&lt;l"), "{svg}");
    }

    #[test]
    fn points_that_are_not_finite_are_gaps() {
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.5)];
        let svg = chart(points).svg();
        assert_eq!(svg.matches("<polyline class").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn empty_constant_and_logarithmic_charts_are_drawn() {
        for points in [vec![], vec![(1.0, 1.0)], vec![(1.0, 2.0), (2.0, 2.0)], vec![(1.0, f64::NAN)]] {
            for chart in [chart(points.clone()), chart(points).log()] {
                let svg = chart.svg();
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn labels_that_do_not_fit_beside_the_title_stand_below_it() {
        let with = |lines: usize| {
            let line =
                |i| Line::new(format!("a long label {i}"), i, Style::Dots, vec![(1.0, 1.0), (10.0, 2.0)]);
            (0..lines).map(line).fold(Chart::new("title", "x", "y").log_x(), Chart::line).svg()
        };
        assert_eq!(with(3).matches(r#"y="28.0">a long label"#).count(), 3);
        assert_eq!(with(8).matches(r#"y="28.0">a long label"#).count(), 0);
        assert_eq!(with(8).matches(">a long label").count(), 8);
    }

    #[test]
    fn everything_lies_inside_the_page() {
        let svg = chart((1..100).map(|i| (f64::from(i), 5.0 / f64::from(i))).collect()).svg();
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            let Frame { left, right, top, bottom, .. } = Frame::PAGE;
            assert!((left..=right).contains(&x) && (top..=bottom).contains(&y), "{point}");
        }
    }
}
