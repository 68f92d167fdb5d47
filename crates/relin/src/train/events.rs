//! What a run reports while it works; the same lines stand in `metrics.jsonl` and on the standard output.
//!
//! A number that is not finite is written as `null` (JSON has no NaN) and read back as NaN.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// Watches a run, and may ask it to stop. `()` does neither.
pub trait Observer {
    /// Training begins, or goes on after `start.step` updates.
    fn started(&mut self, start: &Start) {
        let _ = start;
    }

    /// Some updates were made.
    fn step(&mut self, step: &Step) {
        let _ = step;
    }

    /// The validation split was scored.
    fn eval(&mut self, eval: &Eval) {
        let _ = eval;
    }

    /// Something was wrong that did not stop the run, such as a damaged saved state that was passed over.
    fn warning(&mut self, text: &str) {
        let _ = text;
    }

    /// Asked after every update: when true, the run saves its state and ends early.
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// A run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Updates made before, by a run that this one resumes.
    pub step: usize,
    /// Updates in all.
    pub steps: usize,
    /// Scalars that are learned.
    pub parameters: usize,
    /// Targets in one update.
    pub tokens_per_step: usize,
}

/// Updates were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the last update, from 1.
    pub step: usize,
    /// Mean loss per target, natural logarithm, over the updates since the last report.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Learning rate of the last update.
    #[serde(deserialize_with = "null_is_nan")]
    pub learning_rate: f64,
    /// Targets per second since the last report.
    #[serde(deserialize_with = "null_is_nan")]
    pub tokens_per_second: f64,
}

/// The validation split was scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// Updates made before it.
    pub step: usize,
    /// Mean loss per target, natural logarithm.
    #[serde(deserialize_with = "null_is_nan")]
    pub valid_loss: f64,
    /// Share of right answers, where there are classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_accuracy: Option<f64>,
    /// Share of encoded denominators that did not reach ε on a batch of the training data, where the model has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamped: Option<f64>,
}

/// A run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Its folder.
    pub run: PathBuf,
    /// Updates made, those of resumed runs included.
    pub steps: usize,
    /// Loss of the last report.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_loss: f64,
    /// Score of the last evaluation.
    #[serde(deserialize_with = "null_is_nan")]
    pub valid_loss: f64,
    /// Share of right answers, where there are classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_accuracy: Option<f64>,
    /// Targets per second over the whole run.
    #[serde(deserialize_with = "null_is_nan")]
    pub tokens_per_second: f64,
    /// Seconds spent, those of resumed runs included.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
    /// Scalars that are learned.
    pub parameters: usize,
}

/// How a call to train came to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All updates were made.
    Finished(Done),
    /// The observer asked to stop; the state after this many updates is saved.
    Stopped {
        /// Updates made.
        step: usize,
    },
}

/// A line of a run's records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Updates were made.
    Step(Step),
    /// The validation split was scored.
    Eval(Eval),
    /// The run ended.
    Done(Done),
}

impl Event {
    /// Updates made when it happened.
    pub fn step(&self) -> usize {
        match self {
            Self::Step(step) => step.step,
            Self::Eval(eval) => eval.step,
            Self::Done(done) => done.steps,
        }
    }
}

fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_documented_keys_in_order() {
        let step = Event::Step(Step { step: 3, loss: 1.5, learning_rate: 0.1, tokens_per_second: 10.0 });
        assert_eq!(
            serde_json::to_string(&step).unwrap(),
            r#"{"event":"step","step":3,"loss":1.5,"learning_rate":0.1,"tokens_per_second":10.0}"#
        );
        let eval = Event::Eval(Eval { step: 3, valid_loss: 2.0, valid_accuracy: None, clamped: None });
        assert_eq!(serde_json::to_string(&eval).unwrap(), r#"{"event":"eval","step":3,"valid_loss":2.0}"#);
        let done = Event::Done(Done {
            run: "runs/a".into(),
            steps: 4,
            train_loss: 1.0,
            valid_loss: 2.0,
            valid_accuracy: None,
            tokens_per_second: 5.0,
            seconds: 6.0,
            parameters: 7,
        });
        assert_eq!(
            serde_json::to_string(&done).unwrap(),
            concat!(
                r#"{"event":"done","run":"runs/a","steps":4,"train_loss":1.0,"valid_loss":2.0,"#,
                r#""tokens_per_second":5.0,"seconds":6.0,"parameters":7}"#
            )
        );
        assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&done).unwrap()).unwrap(), done);
    }

    #[test]
    fn a_diverged_loss_is_null_and_comes_back_as_nan() {
        let step = Event::Step(Step { step: 1, loss: f64::NAN, learning_rate: 0.1, tokens_per_second: 1.0 });
        let line = serde_json::to_string(&step).unwrap();
        assert!(line.contains("\"loss\":null"), "{line}");
        let Event::Step(back) = serde_json::from_str(&line).unwrap() else { panic!("not a step") };
        assert!(back.loss.is_nan());
    }
}
