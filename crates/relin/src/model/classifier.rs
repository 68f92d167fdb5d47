//! A classifier: a trunk that sees whole sequences, one vector of each sequence, and one row of scores a class. Of a
//! regression there is one row, whose score is the number.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::Segment;

use super::initialize::initialize;
use super::network::Network;
use super::pair_head::PairHead;
use super::pass::Sight;
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::{Examples, Input};
use crate::nn::{Embedding, EmbeddingConfig, Layout};
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
            (Some(count), _) => {
                trunk.with_tokens(count, config.embedding_width(), device).with_ngrams(config, device)
            }
            (None, Some(_)) if !config.stem.is_empty() => trunk,
            (None, Some(patch)) => trunk.with_patches(patch, width, device),
            (None, None) => return Err(ModelError::NoVocabulary),
        };
        let model = model.with_stem(config, device);
        let count = match config.target {
            Some(_) => 1,
            None => config.labels.as_ref().map_or(0, Vec::len),
        };
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
        let given = match &examples.input {
            Input::Tokens(ids) => self.model.tokens(ids.clone(), [sequences, examples.length]),
            Input::Patches { values, width, .. } => {
                let shape = [sequences, examples.length, *width];
                let device = self.score.weight.val().device();
                Tensor::from_data(TensorData::new(values.clone(), shape), &device)
            }
        };
        let embedded = match (&self.model.stem, layout(examples)) {
            (Some(stem), layout) => stem.forward(given, layout, examples.lengths.clone()),
            (None, Layout::Grid(_)) => self.model.patches(given),
            (None, Layout::Line) => given,
        };
        let led = match &self.cls {
            Some(cls) => Tensor::cat(vec![cls.forward(vec![0; sequences], [sequences, 1]), embedded], 1),
            None => embedded,
        };
        self.model.add_positions(led, 0)
    }

    /// Of so many tokens of an example, how many the stem leaves.
    fn left(&self, examples: &Examples, tokens: usize) -> usize {
        self.model.stem.as_ref().map_or(tokens, |stem| stem.left(layout(examples), tokens))
    }

    /// Tokens before every sequence.
    fn leading(&self) -> usize {
        usize::from(self.cls.is_some())
    }

    /// Every token of a sequence sees all others of it.
    fn whole(&self, examples: &Examples) -> OwnedMask {
        let tokens = |len| self.leading() + self.left(examples, len);
        let time = tokens(examples.length);
        let segment = |(row, &len)| Segment { start: row * time, len: tokens(len), offset: 0 };
        let segments: Vec<Segment> = examples.lengths.iter().enumerate().map(segment).collect();
        OwnedMask::Full { queries: segments.clone(), keys: segments }
    }

    /// What the classes are told by: `[S, T, D]` of S sequences to `[B, width of a score]` of B examples.
    fn pool(&self, hidden: Tensor<3>, examples: &Examples) -> Tensor<2> {
        let pooled = match &self.cls {
            Some(_) => first(hidden),
            None => {
                let lens = examples.lengths.iter().map(|&len| self.left(examples, len));
                ops::mean(hidden, lens.collect())
            }
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

/// How the tokens of an example lie to each other.
fn layout(examples: &Examples) -> Layout {
    match examples.input {
        Input::Tokens(_) => Layout::Line,
        Input::Patches { grid, .. } => Layout::Grid(grid),
    }
}

/// The first state of each sequence, `[S, T, D]` to `[S, D]`.
fn first(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, _, width] = hidden.dims();
    hidden.slice([0..rows, 0..1, 0..width]).reshape([rows, width])
}

/// The mean of `(score − value)²`.
fn squared_error(scores: Tensor<2>, values: Vec<f32>) -> Tensor<1> {
    let values = TensorData::new(values, scores.dims());
    let values = Tensor::from_data(values, &scores.device());
    (scores - values).square().mean()
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
        self.model.loss(self.embed(examples), &self.whole(examples), options, |hidden| {
            let (pooled, weight) = (self.pool(hidden, examples), self.score.weight.val());
            if let Some(values) = &examples.values {
                return squared_error(pooled.matmul(weight.transpose()), values.clone());
            }
            if examples.second.is_none() && options.label_smoothing == 0.0 {
                return ops::cross_entropy(pooled, weight, examples.labels.clone());
            }
            let targets = soft_targets(examples, self.classes(), options.label_smoothing as f32);
            ops::soft_cross_entropy(pooled.matmul(weight.transpose()), targets)
        })
    }

    fn first_not_finite(&self, examples: &Examples) -> Option<String> {
        let inside = self.model.first_not_finite(self.embed(examples), &self.whole(examples));
        inside.or_else(|| (!is_finite(&self.logits(examples).unsqueeze())).then(|| "score".into()))
    }

    fn clamped(&self, examples: &Examples) -> [usize; 2] {
        let mask = self.whole(examples);
        self.model.clamped(self.embed(examples), Sight { mask: &mask, source: None, step: 0 })
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
            values: None,
            second,
        };
        assert_eq!(soft_targets(&examples, 4, 0.0), [0.25, 0.0, 0.75, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let smooth = soft_targets(&examples, 4, 0.2);
        let expected = [0.25, 0.05, 0.65, 0.05, 0.05, 0.85, 0.05, 0.05];
        assert!(smooth.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{smooth:?}");
    }
}
