//! What training, saving and loading need of a model, whatever it computes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::Parameter;

use super::{Loss, LossOptions, ModelError};
use crate::data::Batch;
use crate::recipe::ModelConfig;

/// A model that learns from batches.
pub trait Network: Module {
    /// What one pass learns from.
    type Batch;

    /// `model_type` and `architectures` of its `config.json`.
    const KIND: (&'static str, &'static str);

    /// Mean loss of a batch and its gradients.
    fn loss(&self, batch: &Self::Batch, options: LossOptions) -> Loss;

    /// The first part of the model whose output is not finite for this batch.
    fn first_not_finite(&self, batch: &Self::Batch) -> Option<String>;

    /// Over self-attention of all layers: how many encoded denominators of this batch do not reach ε, so that ε divides in
    /// their stead, and how many there are.
    fn clamped(&self, batch: &Self::Batch) -> [usize; 2];

    /// Initial values of the encodings' parameters, in the order of the model's: what the layers have in common, if
    /// anything, then what is each layer's own, where it has any.
    fn encoding_parameters(&self) -> Vec<Vec<Parameter>>;
}

/// A model that says something of each token of a sequence.
pub trait TokenModel: Network<Batch = Batch> {
    /// Builds and initialises a model; every weight is a pure function of the seed and its own name.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    fn build(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError>;

    /// Logits of every token, `[B·T, vocab]`.
    fn scores(&self, batch: &Batch) -> Tensor<2>;

    /// Longest sequence that the positions allow; `None` if there is no limit.
    fn max_positions(&self) -> Option<usize>;
}
