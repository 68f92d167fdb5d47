//! A classifier: a trunk that sees whole sequences, one vector of each sequence, and one row of scores a class.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::Segment;

use super::initialize::initialize;
use super::network::Network;
use super::pair_head::PairHead;
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::{Examples, Input};
use crate::nn::{Embedding, EmbeddingConfig};
use crate::ops::{self, OwnedMask};
use crate::recipe::{ModelConfig, Pair, Pooling};

/// A classifier of token sequences, of pairs of them, or of images in patches.
#[derive(Module, Debug)]
pub struct Classifier {
    model: Trunk,
    /// The vector before every sequence, where its state is what is read of it.
    cls: Option<Embedding>,
    /// What compares two texts that are read each by itself.
    pair: Option<PairHead>,
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
        let cls = (config.pooling == Pooling::Cls).then(|| EmbeddingConfig { count: 1, width }.init(device));
        let pair =
            (config.pair == Pair::TwoTower).then(|| PairHead::new(width, config.intermediate_size(), device));
        let width = pair.as_ref().map_or(width, PairHead::width);
        let score = EmbeddingConfig { count, width }.init(device);
        Ok(initialize(Self { model, cls, pair, score }, config, seed))
    }

    /// Scores of every class.
    ///
    /// # Shapes
    /// B examples to `[B, classes]`
    pub fn logits(&self, examples: &Examples) -> Tensor<2> {
        self.pool(self.states(examples), examples).matmul(self.score.weight.val().transpose())
    }

    /// Hidden states of all tokens, that of a leading vector first; those of padding mean nothing.
    ///
    /// # Shapes
    /// S sequences to `[S, T, D]`
    pub fn states(&self, examples: &Examples) -> Tensor<3> {
        self.model.hidden(self.embed(examples), &self.whole(examples))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.score.weight.dims()[0]
    }

    fn embed(&self, examples: &Examples) -> Tensor<3> {
        let sequences = examples.sequences();
        let embedded = match &examples.input {
            Input::Tokens(ids) => self.model.tokens(ids.clone(), [sequences, examples.length]),
            Input::Patches { values, width } => {
                let shape = [sequences, examples.length, *width];
                let device = self.score.weight.val().device();
                self.model.patches(Tensor::from_data(TensorData::new(values.clone(), shape), &device))
            }
        };
        let led = match &self.cls {
            Some(cls) => Tensor::cat(vec![cls.forward(vec![0; sequences], [sequences, 1]), embedded], 1),
            None => embedded,
        };
        self.model.add_positions(led, 0)
    }

    /// Tokens before every sequence.
    fn leading(&self) -> usize {
        usize::from(self.cls.is_some())
    }

    /// Every token of a sequence sees all others of it.
    fn whole(&self, examples: &Examples) -> OwnedMask {
        let (leading, time) = (self.leading(), self.leading() + examples.length);
        let segment =
            |(row, &len): (usize, &usize)| Segment { start: row * time, len: leading + len, offset: 0 };
        let segments: Vec<Segment> = examples.lengths.iter().enumerate().map(segment).collect();
        OwnedMask::Full { queries: segments.clone(), keys: segments }
    }

    /// What the classes are told by: `[S, T, D]` of S sequences to `[B, width of a score]` of B examples.
    fn pool(&self, hidden: Tensor<3>, examples: &Examples) -> Tensor<2> {
        let pooled = match &self.cls {
            Some(_) => first(hidden),
            None => mean(hidden, examples),
        };
        match &self.pair {
            Some(head) => {
                let [sequences, width] = pooled.dims();
                head.forward(pooled.reshape([sequences / 2, 2 * width]))
            }
            None => pooled,
        }
    }
}

/// The first state of each sequence, `[S, T, D]` to `[S, D]`.
fn first(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, _, width] = hidden.dims();
    hidden.slice([0..rows, 0..1, 0..width]).reshape([rows, width])
}

/// The mean over the tokens of each sequence, `[S, T, D]` to `[S, D]`; padding does not count.
fn mean(hidden: Tensor<3>, examples: &Examples) -> Tensor<2> {
    let [rows, time, width] = hidden.dims();
    let weight = |at: usize| {
        let len = examples.lengths[at / time];
        if at % time < len { 1.0 / len as f32 } else { 0.0 }
    };
    let weights: Vec<f32> = (0..rows * time).map(weight).collect();
    let weights = Tensor::<3>::from_data(TensorData::new(weights, [rows, 1, time]), &hidden.device());
    weights.matmul(hidden).reshape([rows, width])
}

impl Network for Classifier {
    type Batch = Examples;

    const KIND: (&'static str, &'static str) = ("relin-classifier", "Classifier");

    fn loss(&self, examples: &Examples, options: LossOptions) -> Loss {
        self.model.loss(self.embed(examples), &self.whole(examples), options, |hidden| {
            let pooled = self.pool(hidden, examples);
            ops::cross_entropy(pooled, self.score.weight.val(), examples.labels.clone())
        })
    }

    fn first_not_finite(&self, examples: &Examples) -> Option<String> {
        let inside = self.model.first_not_finite(self.embed(examples), &self.whole(examples));
        inside.or_else(|| (!is_finite(&self.logits(examples).unsqueeze())).then(|| "score".into()))
    }

    fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        self.model.encoding_parameters()
    }
}
