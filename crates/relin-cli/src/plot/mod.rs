//! Charts as SVG, readable on light and dark pages.

mod axis;
mod confusion;
mod forest;
mod heat;
mod matrix;
mod roll;
mod sheet;
mod svg;

pub use confusion::Confusion;
pub use forest::{Difference, Forest};
pub use heat::HeatMap;
pub use matrix::Matrix;
pub use roll::{Roll, RollNote};
pub use sheet::{Panel, Sheet};
pub use svg::escape;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Solid,
    /// A thin, pale line behind the others.
    Faint,
    /// A thin line through dots.
    Dots,
    /// Dots alone, pale where they are few on top of each other.
    Points,
    /// A broad line.
    Bar,
    /// The area that the points enclose.
    Band,
}

/// A series of points.
#[derive(Clone, Debug)]
pub struct Line {
    /// For the legend; empty for none.
    label: String,
    /// Index of the colour.
    colour: usize,
    style: Style,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// A series in the colour of that index; points that are not finite leave a gap.
    pub fn new(label: impl Into<String>, colour: usize, style: Style, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), colour, style, points }
    }

    /// The area between two curves, as `(x, low, high)`.
    pub fn band(colour: usize, between: impl DoubleEndedIterator<Item = (f64, f64, f64)> + Clone) -> Self {
        let above = between.clone().map(|(x, _, high)| (x, high));
        let points = above.chain(between.rev().map(|(x, low, _)| (x, low))).collect();
        Self { label: String::new(), colour, style: Style::Band, points }
    }

    /// Bars from zero.
    pub fn bars(label: impl Into<String>, colour: usize, tops: impl Iterator<Item = (f64, f64)>) -> Self {
        // What is not finite parts one bar from the next.
        let points = tops.flat_map(|(x, top)| [(x, 0.0), (x, top), (x, f64::NAN)]).collect();
        Self { label: label.into(), colour, style: Style::Bar, points }
    }
}

/// Linear or logarithmic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    Log,
}

/// A line chart.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x_label: String,
    y_label: String,
    x_scale: Scale,
    y_scale: Scale,
    /// Of the horizontal axis; round numbers if empty.
    x_ticks: Vec<f64>,
    lines: Vec<Line>,
}

impl Chart {
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_ticks: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Adds a line; later ones lie above earlier ones.
    pub fn line(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    /// Values on a logarithmic scale; those that are not positive are left out.
    pub fn log(mut self) -> Self {
        self.y_scale = Scale::Log;
        self
    }

    /// The horizontal axis on a logarithmic scale; points at 0 or below are left out.
    pub fn log_x(mut self) -> Self {
        self.x_scale = Scale::Log;
        self
    }

    /// Where the horizontal axis has its ticks, instead of at round numbers.
    pub fn x_ticks(mut self, at: Vec<f64>) -> Self {
        self.x_ticks = at;
        self
    }

    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        svg::render(self)
    }
}
