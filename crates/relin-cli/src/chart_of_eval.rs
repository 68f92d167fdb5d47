//! The plots of an evaluation.

use relin::eval::{ClassEvaluation, Evaluation, MusicEvaluation, NumberEvaluation, ProbeEvaluation};

use crate::plot::{Chart, Confusion, Line, Style};
use crate::progress::grouped;

/// Which classes of a run were taken for which.
pub fn confusion(run: &str, evaluation: &ClassEvaluation) -> Confusion {
    let ClassEvaluation { split, accuracy, macro_f1, examples, classes, confusion, .. } = evaluation;
    Confusion {
        title: format!("{run}, {split}"),
        subtitle: format!("accuracy {accuracy:.4}, macro F1 {macro_f1:.4}, {} examples", grouped(*examples)),
        labels: classes.iter().map(|class| class.label.clone()).collect(),
        counts: confusion.clone(),
    }
}

/// What a regression foretold over what was true; on the line they are equal.
pub fn scatter(run: &str, evaluation: &NumberEvaluation) -> Chart {
    let points: Vec<(f64, f64)> = evaluation.pairs.iter().map(|&[number, found]| (number, found)).collect();
    let all = || evaluation.pairs.as_flattened().iter().copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    Chart::new(format!("{run}, {}", evaluation.split), "number", "prediction")
        .line(Line::new("equal", 3, Style::Solid, vec![(low, low), (high, high)]))
        .line(Line::new("examples", 0, Style::Points, points))
}

/// The loss of a language model over the length of its context; `trained` is the length it was trained on.
pub fn losses(run: &str, at: &[Evaluation], trained: usize) -> Chart {
    let points = at.iter().map(|at| (at.length as f64, at.loss)).collect();
    let title = at.first().map_or(run.into(), |first| format!("{run}, {}", first.split));
    over_lengths(Chart::new(title, LENGTH, "loss per target (nats)"), "loss", points, trained)
}

/// The accuracy of a probe over the length of its sequences.
pub fn accuracies(run: &str, at: &[ProbeEvaluation], trained: usize) -> Chart {
    let points = |what: fn(&ProbeEvaluation) -> f64| {
        in_order(at.iter().map(|at| (at.length as f64, what(at))).collect())
    };
    let chart = Chart::new(run, LENGTH, "share of right answers");
    let chart = chart.line(Line::new("chance", 3, Style::Solid, points(|at| at.chance)));
    over_lengths(chart, "accuracy", points(|at| at.accuracy), trained)
}

/// The loss of a model of music over the length of its context.
pub fn music_losses(run: &str, at: &[MusicEvaluation], trained: usize) -> Chart {
    let points = at.iter().map(|at| (at.length as f64, at.loss)).collect();
    over_lengths(Chart::new(music_title(run, at), LENGTH, PER_TOKEN), "loss", points, trained)
}

/// The loss of a model of music by how many tokens it had seen, a curve for each length.
pub fn positions(run: &str, at: &[MusicEvaluation], trained: usize) -> Chart {
    let chart = Chart::new(music_title(run, at), "position (tokens seen before)", PER_TOKEN);
    let losses = || at.iter().flat_map(|at| at.positions.iter().map(|bucket| bucket.loss));
    let (low, high) =
        losses().fold((f64::INFINITY, 0.0f64), |(low, high), loss| (low.min(loss), high.max(loss)));
    let reached = at.iter().flat_map(|at| &at.positions).map(|bucket| bucket.to).max().unwrap_or(0);
    let border =
        if reached > trained { vec![(trained as f64, low), (trained as f64, high)] } else { Vec::new() };
    let chart = chart.line(Line::new(format!("trained to {trained}"), 1, Style::Faint, border));
    let curves = at.iter().enumerate().map(|(colour, at)| {
        let middle = |bucket: &relin::eval::Bucket| ((bucket.from + bucket.to) as f64 / 2.0, bucket.loss);
        let name = if at.whole { "whole pieces".into() } else { format!("length {}", at.length) };
        // The second colour is the border's.
        let colour = if colour == 0 { 0 } else { colour + 1 };
        Line::new(name, colour, Style::Dots, at.positions.iter().map(middle).collect())
    });
    curves.fold(chart, Chart::line)
}

fn music_title(run: &str, at: &[MusicEvaluation]) -> String {
    let Some(first) = at.first() else { return run.into() };
    let joined = if first.concatenated { ", pieces joined" } else { "" };
    format!("{run}, {}{joined}", first.split)
}

const PER_TOKEN: &str = "loss per token (nats)";
const MOST_TICKS: usize = 9;
const LENGTH: &str = "length T (tokens)";

fn over_lengths(chart: Chart, name: &str, points: Vec<(f64, f64)>, trained: usize) -> Chart {
    let points = in_order(points);
    let own = points.iter().copied().filter(|point| point.0 == trained as f64).take(1).collect();
    // The lengths themselves, as far as their names have room.
    let ticks = points.iter().map(|point| point.0).take(MOST_TICKS + 1).collect::<Vec<_>>();
    let chart = if ticks.len() <= MOST_TICKS { chart.x_ticks(ticks) } else { chart };
    let chart = chart.log_x().line(Line::new(name, 0, Style::Dots, points));
    chart.line(Line::new(format!("trained at {trained}"), 1, Style::Dots, own))
}

/// Lengths may be asked for in any order.
fn in_order(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

#[cfg(test)]
mod tests {
    use relin::eval::Bucket;

    use super::*;

    fn evaluation(length: usize) -> Evaluation {
        let loss = 1.0 + 64.0 / length as f64;
        Evaluation {
            split: "validation".into(),
            length,
            loss,
            perplexity: loss.exp(),
            bits_per_byte: Some(loss),
            accuracy: 0.5,
            tokens: 1000,
        }
    }

    #[test]
    fn lengths_are_drawn_in_order_and_the_trained_one_is_marked() {
        let svg = losses("run", &[512, 128, 256].map(evaluation), 128).svg();
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let across: Vec<f64> =
            points.split(' ').map(|p| p.split(',').next().unwrap().parse().unwrap()).collect();
        assert!(across.is_sorted(), "{across:?}");
        // Octaves are alike on a logarithmic axis.
        assert!(((across[1] - across[0]) - (across[2] - across[1])).abs() < 0.2, "{across:?}");
        assert!([">128<", ">256<", ">512<"].iter().all(|tick| svg.contains(tick)), "{svg}");
        assert!(svg.contains("trained at 128") && svg.contains("run, validation"));
        assert!(!losses("run", &[512, 256].map(evaluation), 128).svg().contains("trained at"));
    }

    #[test]
    fn predictions_are_points_over_numbers() {
        let pairs = vec![[0.0, 1.0], [5.0, 4.0], [5.0, 3.0]];
        let (pearson, spearman) = (Some(0.9), None);
        let (split, examples) = ("all".into(), 3);
        let evaluation = NumberEvaluation {
            split,
            loss: 0.5,
            rmse: 1.0,
            pearson,
            spearman,
            examples,
            unlabelled: 0,
            pairs,
            warning: None,
        };
        let svg = scatter("stsb", &evaluation).svg();
        assert!(svg.contains("stsb, all") && svg.contains("prediction"));
        assert_eq!(svg.matches("opacity=\"0.4\"").count(), 3, "{svg}");
    }

    #[test]
    fn losses_by_position_are_drawn_with_the_border_of_training() {
        let bucket =
            |at: usize| Bucket { from: 128 * at, to: 128 * (at + 1), loss: 0.5 + at as f64, tokens: 9 };
        let at = |length: usize| MusicEvaluation {
            split: "validation".into(),
            length,
            whole: false,
            concatenated: true,
            loss: 1.0,
            loss_per_step: None,
            perplexity: 2.0,
            accuracy: 0.5,
            tokens: 10,
            pieces: 2,
            positions: (0..length / 128).map(bucket).collect(),
        };
        let svg = positions("run", &[256, 1024].map(at), 256).svg();
        for words in ["trained to 256", "length 256", "length 1024", "run, validation, pieces joined"] {
            assert!(svg.contains(words), "no {words} in {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 2 + 8 + 2, "a dot a bucket, and two in the legend");
        assert!(!positions("run", &[at(256)], 256).svg().contains("trained to"));
        assert!(music_losses("run", &[256, 1024].map(at), 256).svg().contains("trained at 256"));
    }

    #[test]
    fn a_probe_is_drawn_beside_chance() {
        let at = |length| ProbeEvaluation { length, loss: 0.1, accuracy: 0.9, chance: 0.0625, answers: 9 };
        let svg = accuracies("run", &[64, 128].map(at), 64).svg();
        assert!(svg.contains("chance") && svg.contains("accuracy") && svg.contains("trained at 64"));
    }
}
