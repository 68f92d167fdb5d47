//! How time and memory of measurements grow with the number of tokens.

use serde_json::Value as Json;

use super::ledger::{Ledger, Row};
use super::plan::Plan;
use super::statistics::{PowerLaw, Summary, power_law, summary};

/// All series of a kind: one chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// The measurement of the study.
    pub bench: String,
    /// What was measured, such as `forward, 1 thread, K = 64`.
    pub title: String,
    /// One a method and position.
    pub series: Vec<Series>,
}

/// One method over lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Method and position.
    pub name: String,
    /// In order of length.
    pub points: Vec<SeriesPoint>,
    /// Of the seconds a call over the length.
    pub time: Option<PowerLaw>,
    /// Of the memory over the length.
    pub memory: Option<PowerLaw>,
}

/// All repetitions at one length.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoint {
    /// Tokens.
    pub length: usize,
    /// Median seconds of a call.
    pub seconds: Summary,
    /// Most heap memory beyond inputs and results.
    pub peak_bytes: Option<f64>,
}

/// The measurements of a study's results, grouped.
pub fn scalings(plan: &Plan, ledger: &Ledger) -> Vec<Scaling> {
    let mut found: Vec<(String, String, String, usize, f64, Option<f64>)> = Vec::new();
    let rows = plan.runs.iter().filter_map(|run| ledger.row(&run.id));
    for row in rows {
        found.extend(row.measured.measurements.iter().filter_map(|line| measurement(row, line)));
    }
    let mut scalings: Vec<Scaling> = Vec::new();
    for (bench, title, name, ..) in &found {
        let same = |scaling: &&mut Scaling| scaling.bench == *bench && scaling.title == *title;
        if scalings.iter_mut().find(same).is_none() {
            scalings.push(Scaling { bench: bench.clone(), title: title.clone(), series: Vec::new() });
        }
        let Some(scaling) = scalings.iter_mut().find(same) else { continue };
        if scaling.series.iter().any(|series| series.name == *name) {
            continue;
        }
        let own = found.iter().filter(|one| one.0 == *bench && one.1 == *title && one.2 == *name);
        scaling.series.push(series(name, own.map(|one| (one.3, one.4, one.5)).collect()));
    }
    scalings
}

fn series(name: &str, mut calls: Vec<(usize, f64, Option<f64>)>) -> Series {
    calls.sort_by_key(|call| call.0);
    let points: Vec<SeriesPoint> = calls
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|calls| {
            let seconds = summary(&calls.iter().map(|call| call.1).collect::<Vec<_>>())?;
            let peak_bytes = calls.iter().filter_map(|call| call.2).reduce(f64::max);
            Some(SeriesPoint { length: calls[0].0, seconds, peak_bytes })
        })
        .collect();
    let time: Vec<_> = calls.iter().map(|call| (call.0 as f64, call.1)).collect();
    let memory: Vec<_> = points.iter().filter_map(|p| Some((p.length as f64, p.peak_bytes?))).collect();
    Series { name: name.into(), time: power_law(&time), memory: power_law(&memory), points }
}

/// Chart, series, length, seconds, bytes; nothing of a line that lacks any but the last.
fn measurement(row: &Row, line: &Json) -> Option<(String, String, String, usize, f64, Option<f64>)> {
    let text = |key: &str| line.get(key).and_then(Json::as_str);
    let shape = |key: &str| line.get("shape").and_then(|shape| shape.get(key)).and_then(Json::as_u64);
    let (name, position) = (text("name")?, text("position")?);
    let softmax = if name.contains("softmax") { "softmax, " } else { "" };
    let threads = line.get("threads").and_then(Json::as_u64)?;
    let plural = if threads == 1 { "" } else { "s" };
    let width = shape("key_dim")?;
    let title = format!("{}, {threads} thread{plural}, K = {width}", text("direction")?);
    let seconds = line.get("median_seconds").and_then(Json::as_f64)?;
    let bytes = line.get("peak_bytes").and_then(Json::as_f64);
    Some((row.task.clone(), title, format!("{softmax}{position}"), shape("length")? as usize, seconds, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_summed_up_and_the_exponent_is_found() {
        let calls: Vec<_> = [512usize, 1024, 2048]
            .into_iter()
            .flat_map(|t| [0.9, 1.1].map(|noise| (t, noise * (t * t) as f64, Some(8.0 * t as f64))))
            .collect();
        let series = series("softmax, rope", calls);
        assert_eq!(series.points.len(), 3);
        assert_eq!(series.points[0].seconds.n, 2);
        let (time, memory) = (series.time.unwrap(), series.memory.unwrap());
        assert!((time.exponent - 2.0).abs() < 1e-9 && time.half_width.unwrap() > 0.0);
        assert!((memory.exponent - 1.0).abs() < 1e-9);
    }
}
