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

/// `(1 − ε)((1 − w) e_label + w e_second) + ε/classes` for each example, with w the share of its second class.
fn soft_targets(examples: &Examples, classes: usize, smoothing: f32) -> Vec<f32> {
    let mut targets = vec![smoothing / classes as f32; examples.labels.len() * classes];
    for (row, (targets, &label)) in targets.chunks_mut(classes).zip(&examples.labels).enumerate() {
        let second = examples.second.as_ref().map(|second| second[row]);
        let weight = second.map_or(0.0, |second| second.weight);
        targets[label as usize] += (1.0 - smoothing) * (1.0 - weight);
        if let Some(second) = second {
            targets[second.label as usize] += (1.0 - smoothing) * weight;
        }
    }
    targets
}

impl Network for Classifier {
    type Batch = Examples;

    const KIND: (&'static str, &'static str) = ("relin-classifier", "Classifier");

    fn loss(&self, examples: &Examples, options: LossOptions) -> Loss {
        self.model.loss(self.embed(examples), &whole(examples), options, |hidden| {
            let means = ops::mean(hidden, examples.lengths.clone());
            let weight = self.score.weight.val();
            if examples.second.is_none() && options.label_smoothing == 0.0 {
                return ops::cross_entropy(means, weight, examples.labels.clone());
            }
            let targets = soft_targets(examples, self.classes(), options.label_smoothing as f32);
            ops::soft_cross_entropy(means.matmul(weight.transpose()), targets)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Second;

    #[test]
    fn targets_are_shared_among_classes() {
        let second = Some(vec![Second { label: 0, weight: 0.25 }, Second { label: 1, weight: 0.5 }]);
        let examples = Examples {
            input: Input::Tokens(Vec::new()),
            length: 0,
            lengths: vec![],
            labels: vec![2, 1],
            second,
        };
        assert_eq!(soft_targets(&examples, 4, 0.0), [0.25, 0.0, 0.75, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let smooth = soft_targets(&examples, 4, 0.2);
        let expected = [0.25, 0.05, 0.65, 0.05, 0.05, 0.85, 0.05, 0.05];
        assert!(smooth.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{smooth:?}");
    }
}
