//! An observer that remembers what it saw, and stops where it was told to.

use relin::train::events::{Eval, Observer, Start, Step};

#[derive(Default)]
pub struct Watch {
    /// Of the updates.
    pub losses: Vec<f64>,
    /// Of the evaluations.
    pub accuracies: Vec<f64>,
    /// After which update to stop.
    pub stop_at: Option<usize>,
    step: usize,
}

impl Watch {
    pub fn until(step: usize) -> Self {
        Self { stop_at: Some(step), ..Self::default() }
    }
}

impl Observer for Watch {
    fn started(&mut self, start: &Start) {
        self.step = start.step;
    }

    fn step(&mut self, step: &Step) {
        self.step = step.step;
        self.losses.push(step.loss);
    }

    fn eval(&mut self, eval: &Eval) {
        self.accuracies.extend(eval.valid_accuracy);
    }

    fn should_stop(&self) -> bool {
        self.stop_at.is_some_and(|at| self.step >= at)
    }
}
