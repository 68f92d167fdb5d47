//! Time and memory over the number of tokens, on logarithmic axes, with the exponents of the power laws.

use relin::study::statistics::PowerLaw;
use relin::study::{Scaling, Series, SeriesPoint};

use super::tables::{Entry, Table, columns};
use super::{Figure, Section};
use crate::plot::{Chart, Line, Style};

pub fn section(scalings: &[Scaling]) -> Option<Section> {
    if scalings.is_empty() {
        return None;
    }
    let words = vec![
        "Medians of repeated calls; every operator was checked against the naive form before it was timed. Exponents are slopes of straight lines on logarithmic axes through all repetitions, with 95 % intervals; short sequences, where fixed costs weigh, flatten them.".into(),
        "Memory is heap in use beyond inputs and results; of training steps it is everything.".into(),
    ];
    let figures = scalings.iter().enumerate().flat_map(|(at, scaling)| charts(at + 1, scaling)).collect();
    Some(Section {
        title: "Time and memory".into(),
        words,
        tables: scalings.iter().map(table).collect(),
        figures,
    })
}

fn table(scaling: &Scaling) -> Table {
    let mut lengths: Vec<usize> =
        scaling.series.iter().flat_map(|series| series.points.iter().map(|point| point.length)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let names: Vec<String> = lengths.iter().map(|length| format!("T = {length}")).collect();
    let mut numbers: Vec<&str> = vec!["exponent of time", "exponent of memory"];
    numbers.extend(names.iter().map(String::as_str));
    let row = |series: &Series| {
        let at = |length: usize| series.points.iter().find(|point| point.length == length);
        let laws = [series.time, series.memory].map(exponent);
        let times = lengths.iter().map(|&length| time(at(length)));
        [Entry::text(&series.name)].into_iter().chain(laws).chain(times).collect()
    };
    Table {
        caption: format!(
            "{}: {}, milliseconds a call (mean ± sd of repetitions)",
            scaling.bench, scaling.title
        ),
        columns: columns(&["method"], &numbers),
        rows: scaling.series.iter().map(row).collect(),
    }
}

fn exponent(law: Option<PowerLaw>) -> Entry {
    let half = law.and_then(|law| law.half_width);
    let text = |exponent: f64| match half {
        Some(half) => format!("{exponent:.2} ± {half:.2}"),
        None => format!("{exponent:.2}"),
    };
    Entry::number(law.map(|law| law.exponent), text)
}

fn time(point: Option<&SeriesPoint>) -> Entry {
    let deviation = point.and_then(|point| point.seconds.deviation);
    let text = |mean: f64| match deviation {
        Some(deviation) => format!("{} ± {}", milliseconds(mean), milliseconds(deviation)),
        None => milliseconds(mean),
    };
    Entry::number(point.map(|point| point.seconds.mean), text)
}

fn milliseconds(seconds: f64) -> String {
    super::tables::precise(1e3 * seconds)
}

fn charts(number: usize, scaling: &Scaling) -> Vec<Figure> {
    let time = |point: &SeriesPoint| Some(1e3 * point.seconds.mean);
    let memory = |point: &SeriesPoint| point.peak_bytes.map(|bytes| bytes / f64::from(1 << 20));
    let law = |law: fn(&Series) -> Option<PowerLaw>| move |series: &Series| law(series);
    [
        ("time", "milliseconds a call", chart(scaling, "time, ms", time, law(|series| series.time))),
        ("memory", "MiB", chart(scaling, "memory, MiB", memory, law(|series| series.memory))),
    ]
    .into_iter()
    .filter_map(|(name, unit, svg)| {
        let caption = format!(
            "{}: {}; {unit} over T on logarithmic axes, with fitted exponents.",
            scaling.bench, scaling.title
        );
        Some(Figure { name: format!("scaling-{number}-{name}"), svg: svg?, caption })
    })
    .collect()
}

fn chart(
    scaling: &Scaling,
    label: &str,
    value: impl Fn(&SeriesPoint) -> Option<f64>,
    law: impl Fn(&Series) -> Option<PowerLaw>,
) -> Option<String> {
    let mut chart =
        Chart::new(format!("{}: {}", scaling.bench, scaling.title), "tokens T", label).log().log_x();
    let mut drawn = false;
    for (colour, series) in scaling.series.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            series.points.iter().filter_map(|point| Some((point.length as f64, value(point)?))).collect();
        drawn |= points.len() > 1;
        let slope = law(series).map_or(String::new(), |law| format!(", T^{:.2}", law.exponent));
        chart = chart.line(Line::new(format!("{}{slope}", series.name), colour, Style::Dots, points));
    }
    drawn.then(|| chart.svg())
}
