//! Plots of measurements over the number of tokens.

use std::collections::BTreeMap;
use std::path::Path;

use relin::runlog::write_atomic;

use super::error::BenchError;
use super::report::Measurement;
use crate::plot::{Chart, Line, Style};

/// One file for each quantity, number of threads, direction and width.
pub fn write(folder: &Path, measurements: &[Measurement]) -> Result<(), BenchError> {
    let unwritable = |source| BenchError::Folder { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    for (name, chart) in charts(measurements) {
        write_atomic(&folder.join(name), chart.svg().as_bytes())?;
    }
    Ok(())
}

fn charts(measurements: &[Measurement]) -> BTreeMap<String, Chart> {
    let mut groups: BTreeMap<String, Vec<&Measurement>> = BTreeMap::new();
    for measurement in measurements {
        let (shape, threads) = (measurement.shape, measurement.threads);
        let widths = format!("{}x{}", shape.key_dim, shape.value_dim);
        let group = format!("{}-{threads}-threads-{widths}", measurement.direction);
        groups.entry(group).or_default().push(measurement);
    }
    let both = groups.into_iter().flat_map(|(group, measurements)| {
        let time = |m: &Measurement| 1e9 / m.tokens_per_second;
        let memory = |m: &Measurement| m.peak_bytes as f64 / f64::from(1 << 20);
        [
            (format!("time-{group}.svg"), chart(&measurements, "time per token, ns", time)),
            (format!("memory-{group}.svg"), chart(&measurements, "extra memory, MiB", memory)),
        ]
    });
    both.collect()
}

fn chart(measurements: &[&Measurement], label: &str, value: impl Fn(&Measurement) -> f64) -> Chart {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for measurement in measurements {
        let name = short_name(measurement);
        let point = (measurement.shape.length as f64, value(measurement));
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push(point),
            None => lines.push((name, vec![point])),
        }
    }
    let title = format!("{label} ({}, threads: {})", measurements[0].direction, measurements[0].threads);
    let chart = Chart::new(title, "tokens", label).log().log_x();
    lines.into_iter().enumerate().fold(chart, |chart, (colour, (name, mut points))| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        chart.line(Line::new(name, colour, Style::Dots, points))
    })
}

fn short_name(measurement: &Measurement) -> String {
    let softmax = measurement.name.contains("softmax");
    if softmax { format!("softmax, {}", measurement.position) } else { measurement.position.clone() }
}
