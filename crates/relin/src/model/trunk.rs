//! The body of every model: embeddings, pre-norm blocks, a final norm.

use std::borrow::Cow;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use relin_kernels::encoding::{EncodingError, Parameter};
use relin_kernels::rng::Rng;
use relin_kernels::segments::Segment;

use super::block::{Block, Cross, Source, block, cross};
use super::dropper::Dropper;
use super::pass::{Sight, Unwinding};
use crate::nn::{
    Attention, Embedding, EmbeddingConfig, Ngrams, NgramsConfig, Norm, NormConfig, Stem, StemConfig,
    linear_parameters, sinusoidal,
};
use crate::ops::{self, OwnedMask};
use crate::recipe::{Absolute, ModelConfig};

/// Why a model cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The relative encoding does not fit.
    #[error("model.position: {0}")]
    Encoding(#[from] EncodingError),
    /// The vocabulary size is not known yet.
    #[error("model.vocab_size is not set; it follows from the tokenizer")]
    NoVocabulary,
    /// The classes are not known yet.
    #[error("model.labels is empty, and there is no model.target: classes and numbers follow from the data")]
    NoLabels,
}

/// A transformer without its output projection.
#[derive(Module, Debug)]
pub(super) struct Trunk {
    pub embed_tokens: Option<Embedding>,
    embed_ngrams: Option<Ngrams>,
    pub embed_patches: Option<Linear>,
    pub stem: Option<Stem>,
    embed_positions: Option<Embedding>,
    position: Option<SharedPosition>,
    pub layers: Vec<Block>,
    norm: Norm,
    #[module(skip)]
    absolute: Absolute,
}

/// What the relative encodings of all layers have in common.
#[derive(Module, Debug)]
struct SharedPosition {
    parameters: Param<Tensor<1>>,
}

/// How a training loss is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOptions {
    /// Probability of dropping an activation.
    pub dropout: f64,
    /// Probability of dropping a sublayer of the last block for a sequence; earlier blocks drop less, the first none.
    pub drop_path: f64,
    /// ε: targets are `1 − ε` of the label and `ε` of all classes alike (classifiers).
    pub label_smoothing: f64,
    /// Generator of the dropout masks of this step.
    pub rng: Rng,
    /// Recompute each block in the backward pass instead of keeping its activations.
    pub checkpointing: bool,
    /// Number of the step: the noise of stochastic encodings and random features is drawn by it. Evaluation and
    /// generation use that of step 0.
    pub step: u64,
}

impl Trunk {
    /// Blocks, positions and norm, and no embedding of an input yet.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, device: &Device) -> Result<Self, ModelError> {
        Self::from_layer(0, config, device)
    }

    /// [`new`](Self::new) with layers counted from `first`, for a model of several trunks: layers of one number draw equal
    /// reflections, permutations and noise.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn from_layer(first: usize, config: &ModelConfig, device: &Device) -> Result<Self, ModelError> {
        let width = config.hidden_size;
        let learned = config.absolute() == Absolute::Learned;
        let count = config.max_position_embeddings.unwrap_or(1);
        let layers = (0..config.num_hidden_layers).map(|layer| block(config, first + layer, device));
        let (layers, mut shared): (Vec<_>, Vec<_>) =
            layers.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Self {
            embed_tokens: None,
            embed_ngrams: None,
            embed_patches: None,
            stem: None,
            embed_positions: learned.then(|| EmbeddingConfig { count, width }.init(device)),
            position: shared.pop().flatten().map(|parameters| SharedPosition { parameters }),
            layers,
            norm: NormConfig { kind: config.norm, width, eps: config.norm_eps }.init(device),
            absolute: config.absolute(),
        })
    }

    /// Takes tokens.
    pub fn with_tokens(self, count: usize, width: usize, device: &Device) -> Self {
        Self { embed_tokens: Some(EmbeddingConfig { count, width }.init(device)), ..self }
    }

    /// Takes patches of an image, vectors of `patch` numbers.
    pub fn with_patches(self, patch: usize, width: usize, device: &Device) -> Self {
        Self { embed_patches: Some(LinearConfig::new(patch, width).init(device)), ..self }
    }

    /// Adds embeddings of n-grams to those of tokens, if the configuration has any.
    pub fn with_ngrams(self, config: &ModelConfig, device: &Device) -> Self {
        let (lengths, width) = (config.ngrams.clone(), config.embedding_width());
        let ngrams = NgramsConfig { lengths, buckets: config.ngram_buckets, width };
        Self { embed_ngrams: (!config.ngrams.is_empty()).then(|| ngrams.init(device)), ..self }
    }

    /// Joins neighbours before the blocks, if the configuration has a stem: tokens in a line, or pixels in a grid.
    pub fn with_stem(self, config: &ModelConfig, device: &Device) -> Self {
        let grid = self.embed_tokens.is_none();
        let stem = StemConfig {
            inputs: if grid { config.num_channels.unwrap_or(1) } else { config.embedding_width() },
            widths: config.stem.clone(),
            outputs: config.hidden_size,
            grid,
            activation: config.hidden_act,
            norm: config.norm,
            norm_eps: config.norm_eps,
        };
        Self { stem: (!config.stem.is_empty()).then(|| stem.init(device)), ..self }
    }

    /// Attends to a source in every block, whose layers are counted from `first`.
    ///
    /// # Errors
    /// If the encoding does not fit.
    pub fn with_source(
        mut self,
        first: usize,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        for (layer, block) in self.layers.iter_mut().enumerate() {
            block.cross = Some(cross(config, first + layer, device)?);
        }
        Ok(self)
    }

    /// `B·T` token ids to `[B, T, D]`, absolute positions included.
    ///
    /// # Panics
    /// If the model takes patches.
    pub fn embed(&self, ids: Vec<u32>, shape: [usize; 2], offset: i64) -> Tensor<3> {
        self.add_positions(self.tokens(ids, shape), offset)
    }

    /// `B·T` token ids to `[B, T, D]`, n-grams included, without absolute positions.
    ///
    /// # Panics
    /// If the model takes patches.
    pub fn tokens(&self, ids: Vec<u32>, shape: [usize; 2]) -> Tensor<3> {
        let ngrams = self.embed_ngrams.as_ref().map(|ngrams| ngrams.forward(&ids, shape));
        let tokens = self.embed_tokens.as_ref().expect("a model of tokens").forward(ids, shape);
        match ngrams {
            Some(ngrams) => tokens + ngrams,
            None => tokens,
        }
    }

    /// `[B, T, patch]` to `[B, T, D]`, without absolute positions.
    ///
    /// # Panics
    /// If the model takes tokens.
    pub fn patches(&self, patches: Tensor<3>) -> Tensor<3> {
        let layer = self.embed_patches.as_ref().expect("a model of patches");
        ops::linear(patches, None, linear_parameters(layer), None)
    }

    /// What is embedded, from position `offset` on, with its absolute positions.
    pub fn add_positions(&self, x: Tensor<3>, offset: i64) -> Tensor<3> {
        let [_, time, width] = x.dims();
        match (self.absolute, &self.embed_positions) {
            (Absolute::Sinusoidal, _) => {
                // Scaled as in the transformer's first description, where embeddings have deviation D^-½.
                let positions = sinusoidal(offset, time, width, &x.device().without_autodiff());
                x.mul_scalar((width as f64).sqrt()) + positions.unsqueeze()
            }
            (Absolute::Learned, Some(table)) => {
                let positions = (0..time as i64).map(|t| (offset + t) as u32).collect();
                x + table.forward(positions, [1, time])
            }
            _ => x,
        }
    }

    /// `B·T` token ids to `[B, T, D]`, with the absolute positions that each token has in its segment; outside of all segments
    /// it has that of position 0.
    ///
    /// # Panics
    /// If the model takes patches.
    pub fn embed_segments(&self, ids: Vec<u32>, shape: [usize; 2], segments: &[Segment]) -> Tensor<3> {
        let mut positions = vec![0; ids.len()];
        for segment in segments {
            let places = positions[segment.tokens()].iter_mut();
            places.zip(segment.offset as u32..).for_each(|(place, position)| *place = position);
        }
        let x = self.tokens(ids, shape);
        match (self.absolute, &self.embed_positions) {
            (Absolute::Sinusoidal, _) => {
                let [rows, time, width] = x.dims();
                let count = positions.iter().max().map_or(0, |&last| last as usize + 1);
                let device = x.device().without_autodiff();
                let table = ops::to_vec(sinusoidal(0, count, width, &device));
                let of = |&position: &u32| &table[position as usize * width..][..width];
                let added: Vec<f32> = positions.iter().flat_map(of).copied().collect();
                let added = Tensor::from_data(TensorData::new(added, [rows, time, width]), &device);
                x.mul_scalar((width as f64).sqrt()) + added
            }
            (Absolute::Learned, Some(table)) => x + table.forward(positions, shape),
            _ => x,
        }
    }

    /// The hidden states after the final norm, with the noise of step 0 and without dropout.
    pub fn hidden(&self, x: Tensor<3>, mask: &OwnedMask) -> Tensor<3> {
        self.run(x, Sight { mask, source: None, step: 0 }, &mut Dropper::none())
    }

    /// The final norm alone.
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.forward(x)
    }

    /// The loss that `head` makes of the hidden states, and its gradients.
    pub fn loss(
        &self,
        embedded: Tensor<3>,
        mask: &OwnedMask,
        options: LossOptions,
        head: impl Fn(Tensor<3>) -> Tensor<1>,
    ) -> Loss {
        let mut dropper = Dropper::new(options, self.layers.len());
        let embedded = dropper.apply(embedded);
        let sight = Sight { mask, source: None, step: options.step };
        if !options.checkpointing {
            return Loss::of(head(self.run(embedded, sight, &mut dropper)));
        }
        let kept = self.keep(embedded.clone(), sight, &mut dropper);
        let (loss, flowing) = self.above(&kept, head);
        let mut unwinding = Unwinding { flowing, source: None, gradients: loss.gradients };
        self.unwind(kept, sight, &mut unwinding);
        unwinding.through([(embedded, unwinding.flowing.clone())]);
        Loss { value: loss.value, gradients: unwinding.gradients }
    }

    /// The first part of the model whose output is not finite.
    pub fn first_not_finite(&self, x: Tensor<3>, mask: &OwnedMask) -> Option<String> {
        self.first_not_finite_in("model", x, Sight { mask, source: None, step: 0 })
    }

    /// [`first_not_finite`](Self::first_not_finite) of a part of that name.
    pub fn first_not_finite_in(&self, name: &str, mut x: Tensor<3>, sight: Sight<'_>) -> Option<String> {
        if !is_finite(&x) {
            return Some("the embeddings".into());
        }
        for (index, block) in self.blocks(0).enumerate() {
            let attended =
                block.self_attn.forward(block.input_layernorm.forward(x.clone()), sight.mask.clone());
            if !is_finite(&attended) {
                return Some(format!("{name}.layers.{index}.self_attn"));
            }
            x = block.look(x + attended, sight.source, &mut Dropper::none());
            if !is_finite(&x) {
                return Some(format!("{name}.layers.{index}.cross"));
            }
            let fed = block.mlp.forward_normed(&block.post_attention_layernorm, x.clone(), false);
            if !is_finite(&fed) {
                return Some(format!("{name}.layers.{index}.mlp"));
            }
            x = x + fed;
        }
        None
    }

    /// [`Attention::clamped`] of all layers.
    pub fn clamped(&self, mut x: Tensor<3>, sight: Sight<'_>) -> [usize; 2] {
        let (mut source, mut counts) = (sight.source.cloned(), [0, 0]);
        for block in self.blocks(sight.step) {
            let own = block.self_attn.clamped(block.input_layernorm.forward(x.clone()), sight.mask);
            counts = [counts[0] + own[0], counts[1] + own[1]];
            x = block.forward(x, sight.mask.clone(), source.as_ref(), &mut Dropper::none());
            source = source.map(Source::handed_on);
        }
        counts
    }

    /// The attention of each layer, as evaluation uses it.
    pub fn attentions(&self) -> impl ExactSizeIterator<Item = Attention> {
        (0..self.layers.len()).map(|layer| self.block(layer, 0).into_owned().self_attn)
    }

    /// Initial values of the encodings' parameters, in the order of the model's: what the layers have in common, if
    /// anything, then what is each layer's own, where it has any.
    pub(super) fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for block in &self.layers {
            let (of_all, of_this) = block.self_attn.position().split_parameters();
            shared.push(of_all);
            own.push(of_this);
            own.extend(block.cross.as_ref().map(|cross| cross.attn.position().learned()));
        }
        shared.truncate(1);
        shared.into_iter().chain(own).filter(|parameters| !parameters.is_empty()).collect()
    }

    /// The blocks with the noise and the random features of a step.
    pub(super) fn blocks(&self, step: u64) -> impl Iterator<Item = Cow<'_, Block>> {
        (0..self.layers.len()).map(move |layer| self.block(layer, step))
    }

    pub(super) fn block(&self, layer: usize, step: u64) -> Cow<'_, Block> {
        let block = &self.layers[layer];
        let shared = self.position.as_ref().map(|position| position.parameters.val());
        let cross = block.cross.as_ref().is_some_and(|cross| cross.attn.changes_with_steps());
        if shared.is_none() && (step == 0 || !(cross || block.self_attn.changes_with_steps())) {
            return Cow::Borrowed(block);
        }
        let mut block = block.clone();
        block.self_attn = block.self_attn.prepared(shared, step);
        block.cross = block.cross.map(|cross| Cross { attn: cross.attn.prepared(None, step), ..cross });
        Cow::Owned(block)
    }

    /// The attention of each layer to a source, as evaluation uses it.
    pub(super) fn cross_attentions(&self) -> impl Iterator<Item = Attention> {
        (0..self.layers.len())
            .filter_map(|layer| self.block(layer, 0).into_owned().cross)
            .map(|cross| cross.attn)
    }

    /// One block with its attention replaced by `attend`, which maps the normed input to the attention's output.
    pub(super) fn block_with(
        &self,
        layer: usize,
        x: Tensor<3>,
        attend: impl FnOnce(&Attention, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        self.block_with_source(layer, x, attend, |_, x| x)
    }

    /// [`block_with`](Self::block_with), with the attention to a source replaced by `look`, residual included.
    pub(super) fn block_with_source(
        &self,
        layer: usize,
        x: Tensor<3>,
        attend: impl FnOnce(&Attention, Tensor<3>) -> Tensor<3>,
        look: impl FnOnce(&Block, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let block = self.block(layer, 0);
        let x = x.clone() + attend(&block.self_attn, block.input_layernorm.forward(x));
        let x = look(&block, x);
        block.mlp.forward_normed(&block.post_attention_layernorm, x, true)
    }

    /// Longest context that the positions allow; `None` if there is no limit.
    pub fn max_positions(&self) -> Option<usize> {
        self.embed_positions.as_ref().map(|table| table.weight.dims()[0])
    }
}

/// Whether no element is infinite or NaN.
pub(super) fn is_finite(x: &Tensor<3>) -> bool {
    ops::to_vec(x.clone().inner()).iter().all(|x| x.is_finite())
}

/// A loss and the gradients that its passes left.
pub struct Loss {
    /// Nats a target.
    pub value: f64,
    /// One set for each backward pass; a parameter's gradient is the sum over the sets.
    pub gradients: Vec<Gradients>,
}

impl Loss {
    /// Goes back through the whole graph of a loss.
    pub(super) fn of(loss: Tensor<1>) -> Self {
        Self { value: f64::from(ops::to_vec(loss.clone().inner())[0]), gradients: vec![loss.backward()] }
    }
}
