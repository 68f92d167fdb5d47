//! The body of every model: embeddings, pre-norm blocks, a final norm.

use std::borrow::Cow;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Gradients, Tensor};
use relin_kernels::encoding::{EncodingError, Parameter};
use relin_kernels::norm::NormKind;
use relin_kernels::rng::Rng;

use super::dropper::Dropper;
use crate::nn::{
    Attention, AttentionConfig, Embedding, EmbeddingConfig, FeedForward, FeedForwardConfig, Kind, Norm,
    NormConfig, linear_parameters, sinusoidal,
};
use crate::ops::{self, OwnedMask};
use crate::recipe::{Absolute, AttentionKind, Mlp, ModelConfig, OutputNorm};

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
    #[error("model.labels is empty; the classes follow from the data")]
    NoLabels,
}

/// A transformer without its output projection.
#[derive(Module, Debug)]
pub(super) struct Trunk {
    pub embed_tokens: Option<Embedding>,
    pub embed_patches: Option<Linear>,
    embed_positions: Option<Embedding>,
    position: Option<SharedPosition>,
    layers: Vec<Block>,
    norm: Norm,
    #[module(skip)]
    absolute: Absolute,
}

/// What the relative encodings of all layers have in common.
#[derive(Module, Debug)]
struct SharedPosition {
    parameters: Param<Tensor<1>>,
}

/// `x + attention(norm x)`, then `x + feed-forward(norm x)`.
#[derive(Module, Debug)]
struct Block {
    input_layernorm: Norm,
    self_attn: Attention,
    post_attention_layernorm: Norm,
    mlp: FeedForward,
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
        let width = config.hidden_size;
        let learned = config.absolute() == Absolute::Learned;
        let count = config.max_position_embeddings.unwrap_or(1);
        let layers = (0..config.num_hidden_layers).map(|layer| block(config, layer, device));
        let (layers, mut shared): (Vec<_>, Vec<_>) =
            layers.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Self {
            embed_tokens: None,
            embed_patches: None,
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

    /// `B·T` token ids to `[B, T, D]`, absolute positions included.
    ///
    /// # Panics
    /// If the model takes patches.
    pub fn embed(&self, ids: Vec<u32>, shape: [usize; 2], offset: i64) -> Tensor<3> {
        self.add_positions(self.tokens(ids, shape), offset)
    }

    /// `B·T` token ids to `[B, T, D]`, without absolute positions.
    ///
    /// # Panics
    /// If the model takes patches.
    pub fn tokens(&self, ids: Vec<u32>, shape: [usize; 2]) -> Tensor<3> {
        self.embed_tokens.as_ref().expect("a model of tokens").forward(ids, shape)
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

    /// The hidden states after the final norm, with the noise of step 0 and without dropout.
    pub fn hidden(&self, mut x: Tensor<3>, mask: &OwnedMask) -> Tensor<3> {
        for block in self.blocks(0) {
            x = block.forward(x, mask.clone(), &mut Dropper::none());
        }
        self.norm.forward(x)
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
        if options.checkpointing {
            return self.loss_with_checkpoints(embedded, mask, options, dropper, head);
        }
        let mut x = embedded;
        for block in self.blocks(options.step) {
            x = block.forward(x, mask.clone(), &mut dropper);
        }
        let loss = head(self.norm.forward(x));
        Loss { value: value_of(&loss), gradients: vec![loss.backward()] }
    }

    /// Keeps only the blocks' inputs, and runs each block again when its gradient is due.
    fn loss_with_checkpoints(
        &self,
        embedded: Tensor<3>,
        mask: &OwnedMask,
        options: LossOptions,
        mut dropper: Dropper,
        head: impl Fn(Tensor<3>) -> Tensor<1>,
    ) -> Loss {
        let frozen = self.valid();
        let mut x = embedded.clone().inner();
        let mut kept = Vec::with_capacity(self.layers.len());
        for block in frozen.blocks(options.step) {
            kept.push((x.clone(), dropper));
            x = block.forward(x, mask.clone(), &mut dropper);
        }
        let last = x.autodiff().require_grad();
        let loss = head(self.norm.forward(last.clone()));
        let value = value_of(&loss);
        let mut gradients = vec![loss.backward()];
        let mut flowing = take(&last, &mut gradients);
        for (layer, (input, mut dropper)) in kept.into_iter().enumerate().rev() {
            let block = self.block(layer, options.step);
            let input = input.autodiff().require_grad();
            let output = block.forward(input.clone(), mask.clone(), &mut dropper);
            gradients.push((output * flowing.autodiff()).sum().backward());
            flowing = take(&input, &mut gradients);
        }
        gradients.push((embedded * flowing.autodiff()).sum().backward());
        Loss { value, gradients }
    }

    /// The first part of the model whose output is not finite.
    pub fn first_not_finite(&self, mut x: Tensor<3>, mask: &OwnedMask) -> Option<String> {
        if !is_finite(&x) {
            return Some("the embeddings".into());
        }
        for (index, block) in self.blocks(0).enumerate() {
            let attended = block.self_attn.forward(block.input_layernorm.forward(x.clone()), mask.clone());
            if !is_finite(&attended) {
                return Some(format!("model.layers.{index}.self_attn"));
            }
            x = x + attended;
            let fed = block.mlp.forward_normed(&block.post_attention_layernorm, x.clone(), false);
            if !is_finite(&fed) {
                return Some(format!("model.layers.{index}.mlp"));
            }
            x = x + fed;
        }
        None
    }

    /// The attention of each layer, as evaluation uses it.
    pub fn attentions(&self) -> impl ExactSizeIterator<Item = Attention> {
        (0..self.layers.len()).map(|layer| self.block(layer, 0).into_owned().self_attn)
    }

    /// Initial values of the encodings' parameters, in the order of the model's: what the layers have in common, if
    /// anything, then what is each layer's own, where it has any.
    pub(super) fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        let split = self.layers.iter().map(|block| block.self_attn.position().split_parameters());
        let (mut shared, own): (Vec<_>, Vec<_>) = split.unzip();
        shared.truncate(1);
        shared.into_iter().chain(own).filter(|parameters| !parameters.is_empty()).collect()
    }

    /// The blocks with the noise and the random features of a step.
    fn blocks(&self, step: u64) -> impl Iterator<Item = Cow<'_, Block>> {
        (0..self.layers.len()).map(move |layer| self.block(layer, step))
    }

    fn block(&self, layer: usize, step: u64) -> Cow<'_, Block> {
        let block = &self.layers[layer];
        let shared = self.position.as_ref().map(|position| position.parameters.val());
        if shared.is_none() && (step == 0 || !block.self_attn.changes_with_steps()) {
            return Cow::Borrowed(block);
        }
        Cow::Owned(Block { self_attn: block.self_attn.prepared(shared, step), ..block.clone() })
    }

    /// One block with its attention replaced by `attend`, which maps the normed input to the attention's output.
    pub(super) fn block_with(
        &self,
        layer: usize,
        x: Tensor<3>,
        attend: impl FnOnce(&Attention, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let block = self.block(layer, 0);
        let x = x.clone() + attend(&block.self_attn, block.input_layernorm.forward(x));
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

fn value_of(loss: &Tensor<1>) -> f64 {
    f64::from(ops::to_vec(loss.clone().inner())[0])
}

/// The gradient of a checkpoint, which the latest pass holds.
fn take(leaf: &Tensor<3>, gradients: &mut [Gradients]) -> Tensor<3> {
    let latest = gradients.last_mut().expect("a pass was made");
    leaf.grad_remove(latest).expect("every block passes a gradient to its input")
}

/// A block, and what its encoding has in common with the others.
fn block(
    config: &ModelConfig,
    layer: usize,
    device: &Device,
) -> Result<(Block, Option<Param<Tensor<1>>>), EncodingError> {
    let width = config.hidden_size;
    let norm = || NormConfig { kind: config.norm, width, eps: config.norm_eps }.init(device);
    let kind = match config.attention {
        AttentionKind::Softmax => Kind::Softmax,
        AttentionKind::Linear => Kind::Linear {
            feature_map: config.feature_map,
            stage: config.position_stage(),
            normalizer: config.normalizer,
            eps: config.normalizer_eps,
            chunk: config.attention_chunk,
        },
    };
    let attention = AttentionConfig {
        width,
        heads: config.num_attention_heads,
        layer,
        kind,
        encoding: config.position.encoding(),
        position_bias: config.position.bias(),
        output_norm: match config.output_norm() {
            OutputNorm::None => None,
            OutputNorm::Layer => Some(NormKind::Layer),
            OutputNorm::Rms => Some(NormKind::Rms),
        },
        norm_eps: config.norm_eps,
        bias: config.bias,
    };
    let mlp = FeedForwardConfig {
        width,
        inner: config.intermediate_size(),
        activation: config.hidden_act,
        gated: config.mlp == Mlp::Gated,
        bias: config.bias,
    };
    let (self_attn, shared) = attention.init_layer(device)?;
    let (input_layernorm, post_attention_layernorm) = (norm(), norm());
    Ok((Block { input_layernorm, self_attn, post_attention_layernorm, mlp: mlp.init(device) }, shared))
}

impl Block {
    fn forward(&self, x: Tensor<3>, mask: OwnedMask, dropper: &mut Dropper) -> Tensor<3> {
        let (first, second) = (&self.input_layernorm, &self.post_attention_layernorm);
        dropper.enter_block();
        if dropper.is_idle() {
            let x = self.self_attn.forward_normed(Some(first), x.clone(), mask, Some(x));
            return self.mlp.forward_normed(second, x, true);
        }
        let attended = self.self_attn.forward_normed(Some(first), x.clone(), mask, None);
        let x = x + dropper.apply_to_sublayer(attended);
        let fed = self.mlp.forward_normed(second, x.clone(), false);
        x + dropper.apply_to_sublayer(fed)
    }
}
