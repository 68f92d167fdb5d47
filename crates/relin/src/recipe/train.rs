//! `[train]`: how a model is trained.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a model is trained (AdamW).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Run whose weights, and tokenizer, training begins with; its network must be the same but for its head.
    pub init_from: Option<PathBuf>,
    /// Number of updates.
    pub steps: usize,
    /// B: sequences in one forward pass.
    pub batch_size: usize,
    /// Forward passes summed into one update.
    pub gradient_accumulation: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Final learning rate of `cosine` and `linear`, as a share of the peak.
    pub min_learning_rate_ratio: f64,
    /// Learning rate of the encodings' own parameters (angles, reflections, ...), as a multiple of that of all others. Few
    /// of them steer every score, and at the rate of all others they hardly leave where they began: 10 was better than 1 for
    /// texts (the studies `learnable` and `angles`).
    pub position_learning_rate_ratio: f64,
    /// How those of them are updated that the position multiplies: angles.
    pub angle_optimizer: AngleOptimizer,
    /// Updates over which the learning rate rises linearly.
    pub warmup_steps: usize,
    /// The learning rate after that.
    pub schedule: Schedule,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the mean of squared gradients.
    pub eps: f64,
    /// Largest norm of the whole gradient; 0 = unlimited.
    pub grad_clip: f64,
    /// Share of activations dropped.
    pub dropout: f64,
    /// Share of sequences for which a sublayer of the last block is left out; less in earlier blocks, none in the first.
    pub drop_path: f64,
    /// Share of a classifier's target that all classes have alike.
    pub label_smoothing: f64,
    /// Recompute activations in the backward pass instead of keeping them.
    pub gradient_checkpointing: bool,
    /// Updates between evaluations; 0 = only at the end.
    pub eval_every: usize,
    /// Batches in an evaluation; 0 = the whole split.
    pub eval_batches: usize,
    /// Updates between saved states; 0 = only at the end.
    pub save_every: usize,
    /// Saved states kept; the oldest go first.
    pub keep_checkpoints: usize,
    /// Updates between reports.
    pub log_every: usize,
    /// Seed of all random choices.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            init_from: None,
            steps: 1000,
            batch_size: 16,
            gradient_accumulation: 1,
            learning_rate: 1e-3,
            min_learning_rate_ratio: 0.1,
            position_learning_rate_ratio: 10.0,
            angle_optimizer: AngleOptimizer::AdamwSquared,
            warmup_steps: 100,
            schedule: Schedule::Cosine,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            grad_clip: 1.0,
            dropout: 0.0,
            drop_path: 0.0,
            label_smoothing: 0.0,
            gradient_checkpointing: false,
            eval_every: 100,
            eval_batches: 0,
            save_every: 500,
            keep_checkpoints: 2,
            log_every: 10,
            seed: 0,
        }
    }
}

/// How parameters are updated that the position multiplies.
///
/// What a change of an angle does grows with the lag. Steps that are mostly noise, which text hardly notices, whose lags are
/// short, undo what an encoder of 784 pixels has learned (docs/results/angles.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AngleOptimizer {
    /// As all other parameters.
    Adamw,
    /// AdamW whose means reach back 100 updates (β₁ and β₂ are 0.99, or as in `[train]` if that is more), and whose steps are
    /// [squared](relin_kernels::adamw::AdamW::squared), at three times the learning rate: long where gradients agree, and
    /// hardly any where they are noise.
    AdamwSquared,
}

/// The learning rate after the warm-up, with `p = (step − warmup) / (steps − warmup)` and `m` the final share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// `m + (1 − m)(1 + cos πp)/2`.
    Cosine,
    /// `1 − (1 − m)p`.
    Linear,
    /// `1`.
    Constant,
    /// `√(warmup / step)`; has no final share.
    InverseSqrt,
}

impl TrainConfig {
    /// Learning rate of an update; the first is step 1, the last is step `steps`.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let (step, warmup) = (step.max(1), self.warmup_steps);
        if step <= warmup {
            return self.learning_rate * step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / self.steps.saturating_sub(warmup).max(1) as f64;
        let progress = progress.min(1.0);
        let floor = self.min_learning_rate_ratio;
        let share = match self.schedule {
            Schedule::Cosine => floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - (1.0 - floor) * progress,
            Schedule::Constant => 1.0,
            Schedule::InverseSqrt => (warmup.max(1) as f64 / step as f64).sqrt(),
        };
        self.learning_rate * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, steps: &[usize]) -> Vec<f64> {
        let config = TrainConfig {
            schedule,
            steps: 110,
            warmup_steps: 10,
            learning_rate: 2.0,
            min_learning_rate_ratio: 0.1,
            ..TrainConfig::default()
        };
        steps.iter().map(|&step| config.learning_rate(step)).collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?} against {expected:?}");
        }
    }

    #[test]
    fn every_schedule_warms_up_linearly_to_the_peak() {
        for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant, Schedule::InverseSqrt] {
            assert_near(&rates(schedule, &[1, 5, 10]), &[0.2, 1.0, 2.0]);
        }
    }

    #[test]
    fn schedules_end_where_they_say() {
        // Steps 60 and 110 are the middle and the end of what follows the warm-up; 500 is past the end.
        assert_near(&rates(Schedule::Cosine, &[60, 110, 500]), &[1.1, 0.2, 0.2]);
        assert_near(&rates(Schedule::Linear, &[60, 110, 500]), &[1.1, 0.2, 0.2]);
        assert_near(&rates(Schedule::Constant, &[60, 110]), &[2.0, 2.0]);
        assert_near(&rates(Schedule::InverseSqrt, &[40, 90]), &[1.0, 2.0 / 3.0]);
    }

    #[test]
    fn no_warmup_starts_at_the_peak_and_a_warmup_longer_than_the_run_never_divides_by_zero() {
        let flat = TrainConfig { warmup_steps: 0, schedule: Schedule::InverseSqrt, ..TrainConfig::default() };
        assert_eq!(flat.learning_rate(1), flat.learning_rate);
        let short = TrainConfig { warmup_steps: 10, steps: 5, ..TrainConfig::default() };
        assert!((1..20).all(|step| short.learning_rate(step).is_finite()));
    }
}
