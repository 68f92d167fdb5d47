//! A classifier: a trunk that sees whole sequences, the mean of its hidden states, and one row of scores a class.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::Segment;

use super::initialize::initialize;
use super::network::Network;
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::{Examples, Input};
use crate::nn::{Embedding, EmbeddingConfig};
use crate::ops::{self, OwnedMask};
use crate::recipe::ModelConfig;

/// A classifier of token sequences or of images in patches.
#[derive(Module, Debug)]
pub struct Classifier {
    model: Trunk,
    score: Embedding,
}

impl Classifier {
    /// Builds and initialises a model; every weight is a pure function of the seed and its own name. It takes tokens if
    /// the configuration says how many there are, else patches.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let (trunk, width) = (Trunk::new(config, device)?, config.hidden_size);
        let model = match (config.vocab_size, config.patch_dim()) {
            (Some(count), _) => trunk.with_tokens(count, width, device),
            (None, Some(patch)) => trunk.with_patches(patch, width, device),
            (None, None) => return Err(ModelError::NoVocabulary),
        };
        let count = config.labels.as_ref().map_or(0, Vec::len);
        if count == 0 {
            return Err(ModelError::NoLabels);
        }
        let score = EmbeddingConfig { count, width }.init(device);
        Ok(initialize(Self { model, score }, config, seed))
    }

    /// Scores of every class.
    ///
    /// # Shapes
    /// B examples to `[B, classes]`
    pub fn logits(&self, examples: &Examples) -> Tensor<2> {
        let hidden = self.model.hidden(self.embed(examples), &whole(examples));
        ops::mean(hidden, examples.lengths.clone()).matmul(self.score.weight.val().transpose())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.score.weight.dims()[0]
    }

    fn embed(&self, examples: &Examples) -> Tensor<3> {
        match &examples.input {
            Input::Tokens(ids) => self.model.embed(ids.clone(), [examples.rows(), examples.length], 0),
            Input::Patches { values, width } => {
                let shape = [examples.rows(), examples.length, *width];
                let device = self.score.weight.val().device();
                self.model.embed_patches(Tensor::from_data(TensorData::new(values.clone(), shape), &device))
            }
        }
    }
}

/// Every token of an example sees all others of it.
fn whole(examples: &Examples) -> OwnedMask {
    let segment = |(row, &len): (usize, &usize)| Segment { start: row * examples.length, len, offset: 0 };
    let segments: Vec<Segment> = examples.lengths.iter().enumerate().map(segment).collect();
    OwnedMask::Full { queries: segments.clone(), keys: segments }
}

impl Network for Classifier {
    type Batch = Examples;

    const KIND: (&'static str, &'static str) = ("relin-classifier", "Classifier");

    fn loss(&self, examples: &Examples, options: LossOptions) -> Loss {
        self.model.loss(self.embed(examples), &whole(examples), options, |hidden| {
            let means = ops::mean(hidden, examples.lengths.clone());
            ops::cross_entropy(means, self.score.weight.val(), examples.labels.clone())
        })
    }

    fn first_not_finite(&self, examples: &Examples) -> Option<String> {
        let inside = self.model.first_not_finite(self.embed(examples), &whole(examples));
        inside.or_else(|| (!is_finite(&self.logits(examples).unsqueeze())).then(|| "score".into()))
    }

    fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        self.model.encoding_parameters()
    }
}
