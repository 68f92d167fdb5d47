//! Which classes were taken for which: a table of counts, coloured by their share of the true class.

use super::heat::{self, LEVELS};
use super::svg::{self, escape, put};
use std::fmt::Write;

/// Room above the table, for the title and a line below it, and below the names, for the axis and the colours.
const TOP: f64 = 74.0;
const BELOW: f64 = 84.0;
/// Room to the right, for the shares of right answers.
const RIGHT: f64 = 64.0;
/// A letter's width as a share of its size; names are cut after so many letters.
const LETTER: f64 = 0.56;
const LONGEST: usize = 24;
/// The least width of a page: its title and the scale of colours have to fit.
const NARROWEST: f64 = 540.0;

/// Counts of true and chosen classes.
#[derive(Clone, Debug)]
pub struct Confusion {
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    pub labels: Vec<String>,
    /// `[true class][chosen class]`.
    pub counts: Vec<Vec<usize>>,
}

/// Where the table lies, and how large its parts are.
struct Layout {
    left: f64,
    bottom: f64,
    cell: f64,
    /// Size of the letters.
    font: f64,
    /// Whether the names of the columns stand upright.
    turned: bool,
}

impl Confusion {
    /// The table as an SVG document; cells name themselves to a pointer.
    pub fn svg(&self) -> String {
        let names: Vec<String> = self.labels.iter().map(|label| shortened(label)).collect();
        let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(1) as f64;
        let cell = (640.0 / names.len() as f64).clamp(8.0, 72.0);
        let font = (0.8 * cell).clamp(6.0, 13.0);
        let name_width = (widest + 1.0) * LETTER * font;
        let turned = name_width > cell;
        let side = cell * names.len() as f64;
        let left = 44.0 + name_width;
        let layout = Layout { left, bottom: TOP + side, cell, font, turned };
        let width = (left + side + RIGHT).max(NARROWEST);
        let height = layout.bottom + if turned { name_width } else { font } + BELOW;
        let mut out = String::new();
        svg::head(&mut out, &self.title, (width, height), heat::theme);
        put!(out, r#"<text class="ink title" x="22" y="30">{}</text>"#, escape(&self.title));
        put!(out, r#"<text class="pale" x="22" y="51">{}</text>"#, escape(&self.subtitle));
        put!(
            out,
            r#"<rect class="h{LEVELS}" x="{left:.1}" y="{TOP}" width="{side:.1}" height="{side:.1}"/>"#
        );
        self.cells(&mut out, &layout);
        self.names(&mut out, &names, &layout);
        axes(&mut out, &layout, side, height);
        scale(&mut out, height - 18.0);
        out.push_str("</svg>\n");
        out
    }

    fn cells(&self, out: &mut String, &Layout { left, cell, font, .. }: &Layout) {
        // A hair between cells, where there is room.
        let size = if cell > 12.0 { cell - 1.0 } else { cell };
        for (row, counts) in self.counts.iter().enumerate() {
            let all: usize = counts.iter().sum();
            for (column, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (x, y) = (left + column as f64 * cell, TOP + row as f64 * cell);
                let share = count as f64 / all as f64;
                let level = level(share, row == column);
                let (is, chosen) = (escape(&self.labels[row]), escape(&self.labels[column]));
                put!(
                    out,
                    r#"<rect class="h{level}" x="{x:.1}" y="{y:.1}" width="{size:.1}" height="{size:.1}"><title>{is}, taken for {chosen}: {count} of {all}</title></rect>"#
                );
                let text = count.to_string();
                let letters = (0.92 * font).min((cell - 4.0) / (LETTER * text.len() as f64));
                if letters >= 8.0 {
                    let ink = if level.abs_diff(LEVELS) >= 5 { "page" } else { "ink" };
                    let (x, y) = (x + size / 2.0, y + size / 2.0 + 0.35 * letters);
                    put!(
                        out,
                        r#"<text class="{ink}" x="{x:.1}" y="{y:.1}" text-anchor="middle" style="font-size: {letters:.1}px" pointer-events="none">{text}</text>"#
                    );
                }
            }
        }
    }

    /// The classes beside the rows and below the columns, and beside each row the share that was right.
    fn names(&self, out: &mut String, names: &[String], layout: &Layout) {
        let &Layout { left, bottom, cell, font, turned } = layout;
        let right = left + cell * names.len() as f64 + 8.0;
        for (at, name) in names.iter().enumerate() {
            let (name, middle) = (escape(name), (at as f64 + 0.5) * cell);
            let size = format!("font-size: {font:.1}px");
            let (end, base) = (left - 6.0, TOP + middle + 0.35 * font);
            put!(
                out,
                r#"<text class="ink" x="{end:.1}" y="{base:.1}" text-anchor="end" style="{size}">{name}</text>"#
            );
            let x = left + middle;
            let place = match turned {
                true => format!(
                    r#"transform="translate({:.1} {:.1}) rotate(-90)" text-anchor="end""#,
                    x + 0.35 * font,
                    bottom + 6.0
                ),
                false => format!(r#"x="{x:.1}" y="{:.1}" text-anchor="middle""#, bottom + font + 6.0),
            };
            put!(out, r#"<text class="ink" {place} style="{size}">{name}</text>"#);
            let all: usize = self.counts[at].iter().sum();
            if all > 0 && font >= 8.0 {
                let share = 100.0 * self.counts[at][at] as f64 / all as f64;
                put!(
                    out,
                    r#"<text class="pale" x="{right:.1}" y="{base:.1}" style="{size}">{share:.1} %</text>"#
                );
            }
        }
    }
}

fn axes(out: &mut String, &Layout { left, bottom, font, .. }: &Layout, side: f64, height: f64) {
    let middle = side / 2.0;
    put!(
        out,
        r#"<text class="pale" transform="translate(24 {:.1}) rotate(-90)" text-anchor="middle">true class</text>"#,
        TOP + middle
    );
    let (x, y) = (left + middle, height - 50.0);
    put!(out, r#"<text class="pale" x="{x:.1}" y="{y:.1}" text-anchor="middle">taken for</text>"#);
    if font >= 8.0 {
        put!(out, r#"<text class="pale" x="{:.1}" y="{:.1}">right</text>"#, left + side + 8.0, TOP - 8.0);
    }
    put!(
        out,
        r#"<line class="axis" x1="{left:.1}" x2="{:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/>"#,
        left + side
    );
}

/// What the colours mean: of right answers and of wrong ones, the share of the true class.
fn scale(out: &mut String, base: f64) {
    let mut x = 22.0;
    put!(out, r#"<text class="pale" x="{x}" y="{base:.1}">share of the true class:</text>"#);
    x += 160.0;
    for (right, word) in [(true, "right"), (false, "wrong")] {
        for step in 1..=LEVELS {
            let level = if right { LEVELS - step } else { LEVELS + step };
            put!(
                out,
                r#"<rect class="h{level}" x="{:.1}" y="{:.1}" width="7" height="11"/>"#,
                x + 7.0 * (step - 1) as f64,
                base - 10.0
            );
        }
        put!(out, r#"<text class="pale" x="{:.1}" y="{base:.1}">{word}, to 100 %</text>"#, x + 62.0);
        x += 178.0;
    }
}

/// One of the colours beside zero: right answers on one side, wrong ones on the other. By the root of the share, since
/// what is looked for is small.
fn level(share: f64, right: bool) -> usize {
    let step = ((LEVELS as f64 * share.sqrt()).round() as usize).clamp(1, LEVELS);
    if right { LEVELS - step } else { LEVELS + step }
}

fn shortened(label: &str) -> String {
    match label.chars().count() {
        0..=LONGEST => label.to_owned(),
        _ => label.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(classes: usize) -> Confusion {
        let label = |at: usize| format!("class <{at}>{}", "x".repeat(at));
        let count = |row: usize, column: usize| match row.abs_diff(column) {
            0 => 90,
            1 => 5,
            _ => 0,
        };
        let row = |row| (0..classes).map(|column| count(row, column)).collect();
        Confusion {
            title: "a & b".into(),
            subtitle: "c".into(),
            labels: (0..classes).map(label).collect(),
            counts: (0..classes).map(row).collect(),
        }
    }

    #[test]
    fn tables_of_two_to_a_hundred_classes_lie_inside_their_pages() {
        for classes in [1, 2, 3, 10, 37, 100] {
            let svg = table(classes).svg();
            let number = |text: &str, name: &str| -> f64 {
                let from = text.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                text[from..].split('"').next().unwrap().parse().unwrap()
            };
            let (width, height) = (number(&svg, "width"), number(&svg, "height"));
            let mut cells = 0;
            for rect in svg.lines().filter(|line| line.starts_with("<rect class=\"h")) {
                assert!(
                    number(rect, "x") >= 0.0 && number(rect, "x") + number(rect, "width") <= width,
                    "{rect}"
                );
                assert!(number(rect, "y") + number(rect, "height") <= height, "{rect}");
                cells += usize::from(rect.contains("taken for"));
            }
            assert_eq!(cells, 3 * classes - 2);
            assert!(width < 1100.0 && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{width}");
            assert_eq!(svg.contains(">90<"), classes <= 37, "counts where they can be read: {classes}");
        }
    }

    #[test]
    fn names_are_escaped_and_cut() {
        let svg = table(40).svg();
        assert!(svg.contains("class &lt;2&gt;xx, taken for class &lt;1&gt;x: 5 of 100"), "{svg}");
        assert!(svg.contains("class &lt;39&gt;xxxxxxxxxxxxx…<"), "{svg}");
    }

    #[test]
    fn a_class_without_examples_has_a_name_and_no_share() {
        let mut table = table(2);
        table.counts[1] = vec![0, 0];
        let svg = table.svg();
        assert!(svg.contains("class &lt;1&gt;") && svg.matches(" %</text>").count() == 3, "{svg}");
    }

    #[test]
    fn small_shares_are_seen_and_right_differs_from_wrong() {
        assert_eq!(level(1.0, true), 0);
        assert_eq!(level(1.0, false), 2 * LEVELS);
        assert_eq!((level(1e-6, true), level(1e-6, false)), (LEVELS - 1, LEVELS + 1));
        assert_eq!(level(0.25, false), LEVELS + LEVELS / 2);
    }
}
