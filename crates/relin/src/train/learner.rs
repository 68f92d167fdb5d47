//! A model and its optimiser: updates, and nothing around them.

use burn::tensor::Device;
use relin_kernels::rng::Rng;

use super::TrainError;
use super::optimizer::Optimizer;
use crate::model::{CausalLm, LossOptions, ModelError, Network};
use crate::recipe::{ModelConfig, TrainConfig};

/// A model that learns from the batches that it is given.
#[derive(Debug)]
pub struct Learner<M> {
    /// `None` only while an update replaces it.
    model: Option<M>,
    optimizer: Optimizer,
}

impl Learner<CausalLm> {
    /// A fresh language model.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, seed: u64) -> Result<Self, ModelError> {
        let model = CausalLm::new(config, seed, &Device::flex().autodiff())?;
        let optimizer = Optimizer::new(&model);
        Ok(Self::resume(model, optimizer))
    }
}

impl<M: Network> Learner<M> {
    pub(super) fn resume(model: M, optimizer: Optimizer) -> Self {
        Self { model: Some(model), optimizer }
    }

    /// The model as it is now.
    pub fn model(&self) -> &M {
        self.model.as_ref().expect("only an update takes the model out")
    }

    pub(super) fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Makes update number `step`, from 1, on `gradient_accumulation` batches, each asked for by its index, and
    /// gives their mean loss before it.
    ///
    /// # Errors
    /// If a batch cannot be had, or loss or gradients are not finite.
    pub fn update(
        &mut self,
        train: &TrainConfig,
        step: usize,
        mut batch: impl FnMut(usize) -> Result<M::Batch, TrainError>,
    ) -> Result<f64, TrainError> {
        let mut loss = 0.0;
        for micro in 0..train.gradient_accumulation {
            let options = LossOptions {
                dropout: train.dropout,
                drop_path: train.drop_path,
                label_smoothing: train.label_smoothing,
                rng: Rng::new(train.seed, (step * train.gradient_accumulation + micro) as u64),
                checkpointing: train.gradient_checkpointing,
                step: step as u64,
            };
            loss += self.accumulate(step, batch(micro)?, options)? / train.gradient_accumulation as f64;
        }
        let model = self.model.take().expect("only an update takes the model out");
        match self.optimizer.update(model, train, train.learning_rate(step)) {
            Ok(model) => self.model = Some(model),
            Err((model, broken)) => {
                self.model = Some(model);
                let place = format!("the gradient of {}", broken.parameter);
                return Err(TrainError::Diverged { step, place });
            }
        }
        Ok(loss)
    }

    fn accumulate(&mut self, step: usize, batch: M::Batch, options: LossOptions) -> Result<f64, TrainError> {
        let mut result = self.model().loss(&batch, options);
        if !result.value.is_finite() {
            let inside = self.model().valid().first_not_finite(&batch);
            let place = inside.map_or_else(|| "the loss".into(), |place| format!("the output of {place}"));
            return Err(TrainError::Diverged { step, place });
        }
        let model = self.model.as_ref().expect("only an update takes the model out");
        self.optimizer.accumulate(model, &mut result.gradients);
        Ok(result.value)
    }
}
