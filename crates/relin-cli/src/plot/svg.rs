//! The chart as an SVG document: one style sheet, which turns dark with the page.

use std::fmt::Write;

use super::axis::Axis;
use super::{Chart, Line, Scale, Style};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = HEIGHT - 56.0;

/// Colours that keep apart for the colour-blind, for light and for dark pages.
const LIGHT: [&str; 6] = ["#2563a8", "#c2410c", "#15803d", "#7e3fae", "#8a6d00", "#0e7c86"];
const DARK: [&str; 6] = ["#6cb0f5", "#fb9a5c", "#5fd38a", "#c79af0", "#e3c54a", "#56cfd8"];

pub(super) fn render(chart: &Chart) -> String {
    let points = || chart.lines.iter().flat_map(|line| line.points.iter());
    let x = Axis::new(points().map(|point| point.0), chart.x_scale, (LEFT + 8.0, RIGHT - 8.0), 8);
    let y = Axis::new(points().map(|point| point.1), chart.y_scale, (BOTTOM - 8.0, TOP + 8.0), 6);
    let mut svg = String::new();
    head(&mut svg, chart);
    grid(&mut svg, &x, &y);
    for line in &chart.lines {
        series(&mut svg, line, (chart.x_scale, chart.y_scale), &x, &y);
    }
    legend(&mut svg, chart);
    svg.push_str("</svg>\n");
    svg
}

/// Writing into a string cannot fail.
macro_rules! put {
    ($svg:expr, $($what:tt)*) => { let _ = writeln!($svg, $($what)*); };
}

fn head(svg: &mut String, chart: &Chart) {
    let title = escape(&chart.title);
    put!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">"#
    );
    put!(svg, "<title>{title}</title>\n<style>");
    put!(svg, "text {{ font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }}");
    put!(svg, ".title {{ font-size: 16px; font-weight: 600; }}");
    put!(svg, "polyline {{ fill: none; stroke-linejoin: round; stroke-linecap: round; }}");
    put!(
        svg,
        ".solid {{ stroke-width: 2.2; }} .faint {{ stroke-width: 1; opacity: 0.35; }} .dots {{ stroke-width: 1.4; }}"
    );
    theme(svg, "#ffffff", "#1f2430", "#5b6270", "#e3e6ea", &LIGHT);
    put!(svg, "@media (prefers-color-scheme: dark) {{");
    theme(svg, "#14171c", "#e6e9ee", "#a3abb8", "#2b3038", &DARK);
    put!(svg, "}}\n</style>");
    put!(svg, r#"<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>"#);
    put!(svg, r#"<text class="ink title" x="{LEFT}" y="28">{title}</text>"#);
    let (middle, low) = ((LEFT + RIGHT) / 2.0, HEIGHT - 14.0);
    put!(
        svg,
        r#"<text class="pale" x="{middle}" y="{low}" text-anchor="middle">{}</text>"#,
        escape(&chart.x_label)
    );
    let centre = (TOP + BOTTOM) / 2.0;
    put!(
        svg,
        r#"<text class="pale" transform="translate(18 {centre}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escape(&chart.y_label)
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

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
    for (value, label) in &y.ticks {
        let at = y.at(*value);
        put!(svg, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}"/>"#);
        let (end, base) = (LEFT - 8.0, at + 4.5);
        put!(svg, r#"<text class="pale" x="{end}" y="{base:.1}" text-anchor="end">{label}</text>"#);
    }
    for (value, label) in &x.ticks {
        let at = x.at(*value);
        put!(svg, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{BOTTOM}"/>"#);
        let base = BOTTOM + 19.0;
        put!(svg, r#"<text class="pale" x="{at:.1}" y="{base}" text-anchor="middle">{label}</text>"#);
    }
    put!(svg, r#"<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>"#);
}

fn series(svg: &mut String, line: &Line, scales: (Scale, Scale), x: &Axis, y: &Axis) {
    let colour = line.colour % LIGHT.len();
    let class = match line.style {
        Style::Solid => "solid",
        Style::Faint => "faint",
        Style::Dots => "dots",
    };
    // A point that has no place, such as a diverged loss, is a gap.
    let has_place = |value: f64, scale| value.is_finite() && (scale == Scale::Linear || value > 0.0);
    let placed = |point: &(f64, f64)| has_place(point.0, scales.0) && has_place(point.1, scales.1);
    for stretch in line.points.split(|point| !placed(point)) {
        let mut path = String::new();
        for (px, py) in stretch {
            let _ = write!(path, "{:.1},{:.1} ", x.at(*px), y.at(*py));
        }
        if stretch.len() > 1 {
            put!(svg, r#"<polyline class="c{colour} {class}" points="{}"/>"#, path.trim_end());
        }
        if line.style == Style::Dots || stretch.len() == 1 {
            for (px, py) in stretch {
                put!(
                    svg,
                    r#"<circle class="f{colour}" cx="{:.1}" cy="{:.1}" r="3.4"/>"#,
                    x.at(*px),
                    y.at(*py)
                );
            }
        }
    }
}

/// Widths of letters are unknown here; these are enough for the two fonts.
const LETTER: f64 = 7.0;
const TITLE_LETTER: f64 = 9.0;
/// A sample of the line before its label, and room after it.
const SAMPLE: f64 = 46.0;

/// At the upper right, where falling losses leave room, over the title's line; a long one in a column at the upper
/// left of the plot.
fn legend(svg: &mut String, chart: &Chart) {
    let lines: Vec<&Line> =
        chart.lines.iter().filter(|line| !line.label.is_empty() && !line.points.is_empty()).collect();
    let width = |text: &str, letter: f64| letter * text.chars().count() as f64;
    let widths = lines.iter().map(|line| width(&line.label, LETTER) + SAMPLE);
    let room = RIGHT - LEFT - width(&chart.title, TITLE_LETTER);
    if widths.clone().sum::<f64>() <= room {
        let mut right = RIGHT;
        for (line, width) in lines.iter().rev().zip(widths.rev()) {
            right -= width;
            entry(svg, line, right + SAMPLE, 28.0);
        }
        return;
    }
    for (i, line) in lines.iter().enumerate() {
        entry(svg, line, LEFT + SAMPLE, TOP + 20.0 + 18.0 * i as f64);
    }
}

/// A label at `start` and the sample before it.
fn entry(svg: &mut String, line: &Line, start: f64, base: f64) {
    let colour = line.colour % LIGHT.len();
    put!(svg, r#"<text class="ink" x="{start:.1}" y="{base:.1}">{}</text>"#, escape(&line.label));
    let (from, to, middle) = (start - 28.0, start - 8.0, base - 4.5);
    if line.style == Style::Dots {
        put!(svg, r#"<circle class="f{colour}" cx="{:.1}" cy="{middle:.1}" r="3.4"/>"#, (from + to) / 2.0);
    }
    put!(
        svg,
        r#"<line class="c{colour} solid" x1="{from:.1}" x2="{to:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#
    );
}

fn escape(text: &str) -> String {
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
            assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{point}");
        }
    }
}
