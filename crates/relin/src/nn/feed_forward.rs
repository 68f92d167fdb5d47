//! The position-wise feed-forward part of a block.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use relin_kernels::activation::Activation;

use super::Norm;
use crate::ops::{self, FeedForwardParameters, LinearParameters};

/// Configuration of a [`FeedForward`].
#[derive(Clone, Debug)]
pub struct FeedForwardConfig {
    /// Width of what comes in.
    pub width: usize,
    /// Width in between.
    pub inner: usize,
    /// Width of what comes out.
    pub outputs: usize,
    /// Activation.
    pub activation: Activation,
    /// Multiply the activation by a second projection.
    pub gated: bool,
    /// Biases in the projections.
    pub bias: bool,
}

impl FeedForwardConfig {
    /// Builds the module.
    pub fn init(&self, device: &Device) -> FeedForward {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(self.bias).init(device);
        FeedForward {
            gate_proj: self.gated.then(|| linear(self.width, self.inner)),
            up_proj: linear(self.width, self.inner),
            down_proj: linear(self.inner, self.outputs),
            activation: self.activation,
        }
    }
}

/// `W_down act(W_up x)`, or gated `W_down (act(W_gate x) ∘ W_up x)`.
#[derive(Module, Debug)]
pub struct FeedForward {
    gate_proj: Option<Linear>,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    /// # Shapes
    /// `[B, T, width]` to `[B, T, outputs]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        ops::feed_forward(self.activation, false, x, None, self.parameters())
    }

    /// `forward(norm(x))`, plus x if `residual`, which needs outputs as wide as x.
    pub fn forward_normed(&self, norm: &Norm, x: Tensor<3>, residual: bool) -> Tensor<3> {
        ops::feed_forward(self.activation, residual, x, Some(norm.parameters()), self.parameters())
    }

    fn parameters(&self) -> FeedForwardParameters {
        FeedForwardParameters {
            gate: self.gate_proj.as_ref().map(linear_parameters),
            up: linear_parameters(&self.up_proj),
            down: linear_parameters(&self.down_proj),
        }
    }
}

/// What operators take in place of the module.
pub(crate) fn linear_parameters(layer: &Linear) -> LinearParameters {
    LinearParameters { weight: layer.weight.val(), bias: layer.bias.as_ref().map(Param::val) }
}
