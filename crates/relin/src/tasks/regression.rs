//! How well numbers were foretold.

use super::classification::AT_ONCE;
use crate::data::Labelled;
use crate::model::Classifier;
use crate::ops;

/// Numbers and what was foretold of them, in the order of the examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NumberScores {
    /// `[number, prediction]` of each.
    pub pairs: Vec<[f64; 2]>,
}

impl NumberScores {
    /// Mean of `(prediction − number)²`.
    pub fn loss(&self) -> f64 {
        mean(self.pairs.iter().map(|[number, found]| (found - number).powi(2)))
    }

    /// Pearson's correlation of numbers and predictions; NaN where either does not vary.
    pub fn pearson(&self) -> f64 {
        correlation(self.side(0), self.side(1))
    }

    /// Spearman's correlation: Pearson's of the ranks, where equal ones share their mean rank.
    pub fn spearman(&self) -> f64 {
        correlation(ranks(&self.side(0)), ranks(&self.side(1)))
    }

    fn side(&self, which: usize) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair[which]).collect()
    }
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len() as f64;
    numbers.sum::<f64>() / count
}

fn correlation(one: Vec<f64>, other: Vec<f64>) -> f64 {
    let centred = |numbers: Vec<f64>| {
        let mean = mean(numbers.iter().copied());
        numbers.into_iter().map(move |number| number - mean).collect::<Vec<f64>>()
    };
    let (one, other) = (centred(one), centred(other));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt()
}

/// From 1.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let (mut ranks, mut before) = (vec![0.0; numbers.len()], 0);
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let shared = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = shared);
        before += equal.len();
    }
    ranks
}

/// Scores all examples whose number is known, all standardised; `each` is told the number of an example, its value (NaN if it is not known) and the
/// prediction.
pub fn regress<L: Labelled>(
    model: &Classifier,
    examples: &L,
    mut each: impl FnMut(usize, f64, f64),
) -> NumberScores {
    let mut scores = NumberScores::default();
    let all: Vec<usize> = (0..examples.len()).collect();
    for indices in all.chunks(AT_ONCE) {
        let batch = examples.batch(indices, None);
        let found = ops::to_vec(model.logits(&batch));
        let values = batch.values.unwrap_or_default();
        for ((&at, value), found) in indices.iter().zip(values).zip(found) {
            let (value, found) = (f64::from(value), f64::from(found));
            if !value.is_nan() {
                scores.pairs.push([value, found]);
            }
            each(at, value, found);
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definitions by hand: deviations (−2, −1, 0, 3) and (−1.5, 0.5, −0.5, 1.5).
    #[test]
    fn correlations_are_those_of_the_usual_definitions() {
        let pairs = vec![[1.0, 1.0], [2.0, 3.0], [3.0, 2.0], [6.0, 4.0]];
        let scores = NumberScores { pairs };
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        close(scores.loss(), (0.0 + 1.0 + 1.0 + 4.0) / 4.0);
        close(scores.pearson(), 7.0 / 70f64.sqrt());
        close(scores.spearman(), 0.8);
        let tied = NumberScores { pairs: vec![[1.0, 5.0], [1.0, 4.0], [0.0, 1.0]] };
        assert_eq!(ranks(&tied.side(0)), [2.5, 2.5, 1.0]);
        close(tied.spearman(), 3f64.sqrt() / 2.0);
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        let scores = NumberScores { pairs: vec![[1.0, 5.0], [2.0, 5.0]] };
        assert!(scores.pearson().is_nan() && scores.spearman().is_nan());
    }
}
