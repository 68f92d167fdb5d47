//! One pre-norm block: self-attention, in a decoder attention to a source, feed-forward.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::EncodingError;
use relin_kernels::norm::NormKind;

use super::dropper::Dropper;
use crate::nn::{Attention, AttentionConfig, FeedForward, FeedForwardConfig, Kind, Norm, NormConfig};
use crate::ops::OwnedMask;
use crate::recipe::{AttentionKind, Mlp, ModelConfig, OutputNorm, Position};

/// `x + attention(norm x)`, in a decoder `x + attention(norm x, source)`, then `x + feed-forward(norm x)`.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub input_layernorm: Norm,
    pub self_attn: Attention,
    pub cross: Option<Cross>,
    pub post_attention_layernorm: Norm,
    pub mlp: FeedForward,
}

/// Attention to a source.
#[derive(Module, Debug)]
pub(super) struct Cross {
    pub layernorm: Norm,
    pub attn: Attention,
}

/// What the blocks of a decoder look at besides their own sequences.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The encoder's output, `[B, T', D]`.
    pub hidden: Tensor<3>,
    /// Which of it each sequence of the decoder sees.
    pub mask: OwnedMask,
}

impl Source {
    /// The same for the next block. Behind the node of the graph that this makes, all later blocks' gradients of the source
    /// are one sum: so each sum has two terms, whose order makes no difference, and checkpoints get the same bits.
    pub fn handed_on(self) -> Self {
        Self { hidden: self.hidden.mul_scalar(1.0), ..self }
    }
}

/// A block that attends to its own sequence, and what its encoding has in common with the others.
pub(super) fn block(
    config: &ModelConfig,
    layer: usize,
    device: &Device,
) -> Result<(Block, Option<Param<Tensor<1>>>), EncodingError> {
    let mlp = FeedForwardConfig {
        width: config.hidden_size,
        inner: config.intermediate_size(),
        outputs: config.hidden_size,
        activation: config.hidden_act,
        gated: config.mlp == Mlp::Gated,
        bias: config.bias,
    };
    let (self_attn, shared) = attention(config, &config.position, layer).init_layer(device)?;
    let (input_layernorm, post_attention_layernorm) = (norm(config, device), norm(config, device));
    let mlp = mlp.init(device);
    Ok((Block { input_layernorm, self_attn, cross: None, post_attention_layernorm, mlp }, shared))
}

/// Attention to a source; its encoding's parameters are all its own.
pub(super) fn cross(config: &ModelConfig, layer: usize, device: &Device) -> Result<Cross, EncodingError> {
    let attn = attention(config, config.cross_position(), layer).init(device)?;
    Ok(Cross { layernorm: norm(config, device), attn })
}

fn norm(config: &ModelConfig, device: &Device) -> Norm {
    NormConfig { kind: config.norm, width: config.hidden_size, eps: config.norm_eps }.init(device)
}

fn attention(config: &ModelConfig, position: &Position, layer: usize) -> AttentionConfig {
    let kind = match config.attention {
        AttentionKind::Softmax => Kind::Softmax,
        AttentionKind::Linear => Kind::Linear {
            feature_map: config.feature_map,
            stage: config.stage_of(position),
            normalizer: config.normalizer,
            eps: config.normalizer_eps,
            chunk: config.attention_chunk,
        },
    };
    AttentionConfig {
        width: config.hidden_size,
        heads: config.num_attention_heads,
        layer,
        kind,
        encoding: position.encoding(),
        position_bias: position.bias(),
        output_norm: match config.output_norm() {
            OutputNorm::None => None,
            OutputNorm::Layer => Some(NormKind::Layer),
            OutputNorm::Rms => Some(NormKind::Rms),
        },
        norm_eps: config.norm_eps,
        bias: config.bias,
    }
}

impl Block {
    pub fn forward(
        &self,
        x: Tensor<3>,
        mask: OwnedMask,
        source: Option<&Source>,
        dropper: &mut Dropper,
    ) -> Tensor<3> {
        let (first, second) = (&self.input_layernorm, &self.post_attention_layernorm);
        dropper.enter_block();
        let attend = |x: Tensor<3>, residual| self.self_attn.forward_normed(Some(first), x, mask, residual);
        let x = add(x, dropper, attend);
        let x = self.look(x, source, dropper);
        if dropper.is_idle() {
            return self.mlp.forward_normed(second, x, true);
        }
        let fed = self.mlp.forward_normed(second, x.clone(), false);
        x + dropper.apply_to_sublayer(fed)
    }

    /// `x + attention(norm x, source)`; `x` without a source.
    pub fn look(&self, x: Tensor<3>, source: Option<&Source>, dropper: &mut Dropper) -> Tensor<3> {
        let (Some(Cross { layernorm, attn }), Some(source)) = (&self.cross, source) else { return x };
        // Keys' and values' gradients of the source meet in a node of the block's own.
        let Source { hidden, mask } = source.clone().handed_on();
        add(x, dropper, |x, residual| attn.forward_cross(layernorm, x, hidden, mask, residual))
    }
}

/// `x + dropped(part(x))`, where `part` adds its second argument, if there is one, to its result.
fn add(
    x: Tensor<3>,
    dropper: &mut Dropper,
    part: impl FnOnce(Tensor<3>, Option<Tensor<3>>) -> Tensor<3>,
) -> Tensor<3> {
    if dropper.is_idle() {
        return part(x.clone(), Some(x));
    }
    let changed = part(x.clone(), None);
    x + dropper.apply_to_sublayer(changed)
}
