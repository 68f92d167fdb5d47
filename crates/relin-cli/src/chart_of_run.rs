//! The plot of a training run, from its metrics.

use relin::train::events::Event;

use crate::plot::{Chart, Line, Style};

/// Training and validation loss over the steps.
pub fn loss_chart(name: &str, events: &[Event]) -> Chart {
    let mut train = Vec::new();
    let mut valid = Vec::new();
    for event in events {
        match event {
            Event::Step(step) => train.push((step.step as f64, step.loss)),
            Event::Eval(eval) => valid.push((eval.step as f64, eval.valid_loss)),
            Event::Done(_) => {}
        }
    }
    let mut chart = Chart::new(name, "step", "loss per target (nats)");
    if spans_decades(train.iter().chain(&valid)) {
        chart = chart.log();
    }
    if train.len() >= SMOOTH_FROM {
        chart = chart.line(Line::new("", 0, Style::Faint, train.clone())).line(Line::new(
            "train, smoothed",
            0,
            Style::Solid,
            smooth(&train),
        ));
    } else {
        chart = chart.line(Line::new("train", 0, Style::Solid, train));
    }
    chart.line(Line::new("validation", 1, Style::Dots, valid))
}

/// Fewer points than this are drawn as they are.
const SMOOTH_FROM: usize = 30;

/// Whether the losses fall so far that a linear scale would show the end of the run as a flat line.
fn spans_decades<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> bool {
    let finite = points.map(|point| point.1).filter(|loss| loss.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, 0.0), |(low, high), loss| (loss.min(low), loss.max(high)));
    low > 0.0 && high > 30.0 * low
}

/// Mean over a window of a thirtieth of the run, centred, cut at the ends; it lags behind nothing.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let radius = points.len().div_ceil(60);
    let mean = |i: usize| {
        let reach = radius.min(i).min(points.len() - 1 - i);
        let window = &points[i - reach..=i + reach];
        window.iter().map(|point| point.1).sum::<f64>() / window.len() as f64
    };
    points.iter().enumerate().map(|(i, point)| (point.0, mean(i))).collect()
}

#[cfg(test)]
mod tests {
    use relin::train::events::{Eval, Step};

    use super::*;

    fn events(n: usize) -> Vec<Event> {
        let step = |step| Event::Step(Step { step, loss: 3.0, learning_rate: 0.1, tokens_per_second: 1.0 });
        let mut events: Vec<_> = (1..=n).map(step).collect();
        events.push(Event::Eval(Eval { step: n, valid_loss: 3.5, valid_accuracy: None, clamped: None }));
        events
    }

    #[test]
    fn smoothing_keeps_a_straight_line() {
        let line: Vec<_> = (0..100).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        for (a, b) in smooth(&line).iter().zip(&line) {
            assert!((a.1 - b.1).abs() < 1e-9);
        }
    }

    #[test]
    fn a_loss_that_falls_by_decades_is_shown_on_a_logarithmic_scale() {
        assert!(spans_decades([(0.0, 4.0), (1.0, f64::NAN), (2.0, 0.01)].iter()));
        assert!(!spans_decades([(0.0, 4.0), (1.0, 1.0)].iter()));
        assert!(!spans_decades([(0.0, 4.0), (1.0, 0.0)].iter()) && !spans_decades([].iter()));
    }

    #[test]
    fn a_run_of_any_length_has_a_plot() {
        for n in [0, 1, 2, 29, 30, 500] {
            let svg = loss_chart("run", &events(n)).svg();
            assert!(svg.contains("validation") && !svg.contains("NaN"), "{n}");
            assert_eq!(svg.contains("smoothed"), n >= 30);
        }
    }
}
