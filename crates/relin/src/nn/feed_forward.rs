//! The position-wise feed-forward part of a block.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use relin_kernels::activation::Activation;

use crate::ops;

/// Configuration of a [`FeedForward`].
#[derive(Clone, Debug)]
pub struct FeedForwardConfig {
    /// `D`.
    pub width: usize,
    /// Width in between.
    pub inner: usize,
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
            down_proj: linear(self.inner, self.width),
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
    /// `[B, T, D]` to `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = match &self.gate_proj {
            None => ops::activation(self.activation, self.up_proj.forward(x)),
            Some(gate) => {
                ops::activation(self.activation, gate.forward(x.clone())).mul(self.up_proj.forward(x))
            }
        };
        self.down_proj.forward(inner)
    }
}
