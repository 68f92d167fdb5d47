//! Differences from a baseline, and what can be said of them.

use super::ScoreKind;
use crate::study::statistics::{Interval, holm};

/// Below this probability a difference counts as found: perhaps, by itself; surely, adjusted for all comparisons.
pub(super) const LEVEL: f64 = 0.05;

/// Two values may lie close together by luck, and then seem sure of anything.
const SURE_FROM: usize = 3;

/// A difference from the baseline, seed by seed.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Name of the baseline.
    pub with: String,
    /// Own score less the baseline's.
    pub difference: Interval,
    /// Probability of such a difference by chance, adjusted for all comparisons of the task.
    pub adjusted: Option<f64>,
    /// What can be said.
    pub answer: Answer,
}

/// What can be said of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Better than the baseline, also when all comparisons are paid for.
    Better,
    /// Better by its own interval alone, as one row in twenty is by chance.
    PerhapsBetter,
    /// Worse by its own interval alone.
    PerhapsWorse,
    /// Worse, also when all comparisons are paid for.
    Worse,
    /// Not separated from it by these seeds.
    Undecided,
    /// A single pair of seeds separates nothing.
    TooFewSeeds,
}

/// Comparisons with their answers, adjusted for their number; whom they are with is filled in by the caller.
pub(super) fn answered(differences: Vec<Interval>, score: ScoreKind) -> Vec<Comparison> {
    let probabilities: Vec<f64> = differences.iter().filter_map(|difference| difference.p).collect();
    let mut adjusted = holm(&probabilities).into_iter();
    let one = |difference: Interval| {
        let adjusted = difference.p.and_then(|_| adjusted.next());
        let better = match score {
            ScoreKind::Loss => difference.mean < 0.0,
            ScoreKind::Accuracy => difference.mean > 0.0,
        };
        let sure = difference.n >= SURE_FROM && adjusted.is_some_and(|p| p < LEVEL);
        let answer = match (difference.p, better) {
            (None, _) => Answer::TooFewSeeds,
            (Some(p), _) if p >= LEVEL => Answer::Undecided,
            (_, true) => {
                if sure {
                    Answer::Better
                } else {
                    Answer::PerhapsBetter
                }
            }
            (_, false) => {
                if sure {
                    Answer::Worse
                } else {
                    Answer::PerhapsWorse
                }
            }
        };
        Comparison { with: String::new(), difference, adjusted, answer }
    };
    differences.into_iter().map(one).collect()
}

/// Differences, seed by seed, of the seeds that both have.
pub(super) fn paired(own: &[(u64, f64)], other: &[(u64, f64)]) -> impl Iterator<Item = (u64, f64)> {
    own.iter().filter_map(|(seed, value)| {
        other.iter().find(|(other, _)| other == seed).map(|(_, base)| (*seed, value - base))
    })
}

/// For each seed the mean over all pairs that have every seed that any has; and the number of these pairs.
pub(super) fn balanced(pairs: &[Vec<(u64, f64)>]) -> (Vec<f64>, usize) {
    let most = pairs.iter().map(Vec::len).max().unwrap_or(0);
    let whole: Vec<&Vec<(u64, f64)>> = pairs.iter().filter(|pair| pair.len() == most && most > 0).collect();
    let mean = |at: usize| whole.iter().map(|pair| pair[at].1).sum::<f64>() / whole.len() as f64;
    ((0..most).map(mean).collect(), whole.len())
}
