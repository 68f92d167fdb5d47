//! How well classes were told apart.

/// Counts of true and chosen classes, and the sum of the losses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassScores {
    /// `[true class][chosen class]`.
    pub confusion: Vec<Vec<usize>>,
    nats: f64,
}

impl ClassScores {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self { confusion: vec![vec![0; classes]; classes], nats: 0.0 }
    }

    /// Counts an example.
    ///
    /// # Panics
    /// If a class has no room.
    pub fn add(&mut self, class: usize, chosen: usize, nats: f64) {
        self.confusion[class][chosen] += 1;
        self.nats += nats;
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.confusion.iter().flatten().sum()
    }

    /// Mean loss, nats an example.
    pub fn loss(&self) -> f64 {
        self.nats / self.examples() as f64
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        let right: usize = self.confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
        right as f64 / self.examples() as f64
    }

    /// Precision and recall of a class; 0 where there is nothing to count.
    pub fn precision_and_recall(&self, class: usize) -> (f64, f64) {
        let right = self.confusion[class][class] as f64;
        let share = |of: usize| if of == 0 { 0.0 } else { right / of as f64 };
        (share(self.chosen(class)), share(self.confusion[class].iter().sum()))
    }

    fn chosen(&self, class: usize) -> usize {
        self.confusion.iter().map(|row| row[class]).sum()
    }

    /// `2·precision·recall / (precision + recall)`, 0 if both are.
    pub fn f1(&self, class: usize) -> f64 {
        let (precision, recall) = self.precision_and_recall(class);
        if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
    }

    /// The mean of the classes' F1.
    pub fn macro_f1(&self) -> f64 {
        (0..self.confusion.len()).map(|class| self.f1(class)).sum::<f64>() / self.confusion.len() as f64
    }

    /// Matthews' correlation coefficient for any number of classes; 0 where it has no value.
    ///
    /// # Reference
    /// Gorodkin 2004, `R_K`.
    pub fn matthews(&self) -> f64 {
        let n = self.examples() as f64;
        let classes = 0..self.confusion.len();
        let right: f64 = classes.clone().map(|class| self.confusion[class][class] as f64).sum();
        let (mut both, mut squares) = (0.0, [0.0; 2]);
        for class in classes {
            let (is, chosen) =
                (self.confusion[class].iter().sum::<usize>() as f64, self.chosen(class) as f64);
            both += is * chosen;
            squares = [squares[0] + is * is, squares[1] + chosen * chosen];
        }
        let scale = ((n * n - squares[0]) * (n * n - squares[1])).sqrt();
        if scale == 0.0 { 0.0 } else { (right * n - both) / scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of scikit-learn 1.5 for true 0,0,0,0,1,1,1,2,2,2 and chosen 0,0,0,1,1,1,2,2,2,0.
    #[test]
    fn figures_are_those_of_the_usual_definitions() {
        let mut scores = ClassScores::new(3);
        for (class, chosen) in [0, 0, 0, 0, 1, 1, 1, 2, 2, 2].into_iter().zip([0, 0, 0, 1, 1, 1, 2, 2, 2, 0])
        {
            scores.add(class, chosen, 0.5);
        }
        assert_eq!((scores.examples(), scores.loss(), scores.accuracy()), (10, 0.5, 0.7));
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        close(scores.f1(0), 0.75);
        close(scores.f1(1), 2.0 / 3.0);
        close(scores.macro_f1(), (0.75 + 4.0 / 3.0) / 3.0);
        close(scores.matthews(), (70.0 - 34.0) / 66.0);
    }

    #[test]
    fn classes_that_never_occur_count_as_nothing() {
        let mut scores = ClassScores::new(3);
        scores.add(0, 0, 0.0);
        assert_eq!((scores.f1(2), scores.matthews(), scores.accuracy()), (0.0, 0.0, 1.0));
    }
}
