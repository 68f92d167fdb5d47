//! The plots of an evaluation.

use relin::eval::{ClassEvaluation, Evaluation, NumberEvaluation, ProbeEvaluation};

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
    fn a_probe_is_drawn_beside_chance() {
        let at = |length| ProbeEvaluation { length, loss: 0.1, accuracy: 0.9, chance: 0.0625, answers: 9 };
        let svg = accuracies("run", &[64, 128].map(at), 64).svg();
        assert!(svg.contains("chance") && svg.contains("accuracy") && svg.contains("trained at 64"));
    }
}
