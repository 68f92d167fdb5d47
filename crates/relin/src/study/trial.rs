//! One run of a study: trained within its time, then scored at every context asked for.

use std::path::Path;
use std::time::Instant;

use super::error::TrialError;
use super::ledger::{AtLength, AtPosition, CurvePoint, Measured, Status};
use crate::eval::{
    Bucket, EvalError, EvalOptions, MusicEvalOptions, evaluate, evaluate_music, evaluate_probe,
};
use crate::recipe::{Recipe, Task};
use crate::runlog::{METRICS_FILE, Resume, Standing, read_metrics, standing};
use crate::train::events::{Done, Eval, Event, Observer, Outcome, Start, Step};
use crate::train::{TrainError, seconds_spent, train};

/// How a run came to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With a result, be it a bad one.
    Result {
        /// How.
        status: Status,
        /// Why like that, unless it finished.
        reason: Option<String>,
        /// What was measured.
        measured: Box<Measured>,
    },
    /// It was asked to stop; its state is saved.
    Stopped,
}

/// Trains a recipe in its folder, going on where a former call stopped, for at most so many seconds in all.
///
/// # Errors
/// If data or folder do not allow it. That numbers are not finite is a result.
pub fn train_trial(
    recipe: &Recipe,
    folder: &Path,
    seconds: Option<f64>,
    observer: &mut dyn Observer,
) -> Result<Ended, TrialError> {
    if let Standing::Finished(done) = standing(folder, recipe, Resume::Auto)? {
        return finished(folder, &done);
    }
    let left = seconds.map(|seconds| seconds - seconds_spent(folder));
    let mut observer = Limited { inner: observer, began: Instant::now(), left };
    let outcome = train(recipe, folder, Resume::Auto, &mut observer);
    let asked = observer.inner.should_stop();
    let result = |status, reason, seconds| {
        let measured = Box::new(Measured { seconds, ..so_far(folder)? });
        Ok(Ended::Result { status, reason: Some(reason), measured })
    };
    match outcome {
        Ok(Outcome::Finished(done)) => finished(folder, &done),
        Ok(Outcome::Stopped { .. }) if asked => Ok(Ended::Stopped),
        Ok(Outcome::Stopped { step }) => {
            let steps = recipe.train.steps;
            let reason = format!("{} s were over after {step} of {steps} updates", seconds.unwrap_or(0.0));
            result(Status::OutOfTime, reason, seconds)
        }
        Err(TrainError::Diverged { step, place }) => {
            let reason = format!("{place} is not finite in update {step}");
            result(Status::Diverged, reason, Some(seconds_spent(folder)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Scores a trained model at every context. That a model has no score at one, such as beyond its learned positions, is a
/// result.
///
/// # Errors
/// If the run or its data cannot be read.
pub fn score_lengths(recipe: &Recipe, folder: &Path, lengths: &[usize]) -> Result<Vec<AtLength>, TrialError> {
    lengths.iter().map(|&length| at_length(recipe, folder, length)).collect()
}

fn at_length(recipe: &Recipe, folder: &Path, length: usize) -> Result<AtLength, TrialError> {
    let (mut loss, mut accuracy, mut positions) = (None, None, Vec::new());
    let mut keep = |of: f64, right: f64| (loss, accuracy) = (finite(of), finite(right));
    let scored = match recipe.task {
        Task::Probe => evaluate_probe(folder, &[length], &mut |at| keep(at.loss, at.accuracy)),
        // Few pieces are long.
        Task::Music => {
            let options =
                MusicEvalOptions { lengths: vec![length], concatenate: true, ..MusicEvalOptions::default() };
            evaluate_music(folder, &options, &mut |at| {
                keep(at.loss, at.accuracy);
                positions = at.positions.iter().filter_map(at_position).collect();
            })
        }
        _ => {
            let options = EvalOptions { lengths: vec![length], ..EvalOptions::default() };
            evaluate(folder, &options, &mut |at| keep(at.loss, at.accuracy))
        }
    };
    let refused = match scored {
        Ok(()) => loss.is_none().then(|| "the loss is not finite".into()),
        Err(error @ (EvalError::TooLong { .. } | EvalError::TooShort { .. })) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    Ok(AtLength { length, loss, accuracy, positions, refused })
}

fn at_position(&Bucket { from, to, loss, .. }: &Bucket) -> Option<AtPosition> {
    loss.is_finite().then_some(AtPosition { from, to, loss })
}

fn finished(folder: &Path, done: &Done) -> Result<Ended, TrialError> {
    let measured = Box::new(Measured {
        steps: done.steps,
        train_loss: finite(done.train_loss),
        valid_loss: finite(done.valid_loss),
        valid_accuracy: done.valid_accuracy,
        tokens_per_second: finite(done.tokens_per_second),
        seconds: finite(done.seconds),
        parameters: Some(done.parameters),
        ..so_far(folder)?
    });
    Ok(match measured.valid_loss {
        Some(_) => Ended::Result { status: Status::Finished, reason: None, measured },
        None => {
            let reason = Some("the validation loss is not finite".into());
            Ended::Result { status: Status::Diverged, reason, measured }
        }
    })
}

/// What the records of a run say.
fn so_far(folder: &Path) -> Result<Measured, TrialError> {
    let mut measured = Measured::default();
    for event in read_metrics(&folder.join(METRICS_FILE))? {
        match event {
            Event::Step(step) => {
                measured.steps = step.step;
                measured.train_loss = finite(step.loss);
                measured.tokens_per_second = finite(step.tokens_per_second);
            }
            Event::Eval(eval) => {
                let loss = finite(eval.valid_loss);
                let (accuracy, clamped) = (eval.valid_accuracy, eval.clamped);
                measured.curve.push(CurvePoint { step: eval.step, loss, accuracy, clamped });
                if loss.is_some_and(|loss| measured.valid_loss.is_none_or(|best| loss < best)) {
                    (measured.valid_loss, measured.valid_accuracy) = (loss, eval.valid_accuracy);
                }
            }
            Event::Done(_) => {}
        }
    }
    Ok(measured)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Asks a run to stop when its time is over.
struct Limited<'a> {
    inner: &'a mut dyn Observer,
    began: Instant,
    left: Option<f64>,
}

impl Observer for Limited<'_> {
    fn started(&mut self, start: &Start) {
        self.inner.started(start);
    }

    fn step(&mut self, step: &Step) {
        self.inner.step(step);
    }

    fn eval(&mut self, eval: &Eval) {
        self.inner.eval(eval);
    }

    fn warning(&mut self, text: &str) {
        self.inner.warning(text);
    }

    fn should_stop(&self) -> bool {
        self.inner.should_stop() || self.left.is_some_and(|left| self.began.elapsed().as_secs_f64() > left)
    }
}
