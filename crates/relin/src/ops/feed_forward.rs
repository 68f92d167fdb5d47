//! The feed-forward part of a block on tensors.

use burn::tensor::Tensor;
use relin_kernels::activation::Activation;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::feed_forward::FeedForward;

use super::bridge::{Kernel, Operand, apply};
use super::parameters::{
    LinearParameters, NormParameters, NormShape, linear_inputs, linear_of, linear_outputs, norm_inputs,
    norm_outputs, or_empty,
};

/// The layers of a feed-forward part.
#[derive(Clone, Debug)]
pub struct FeedForwardParameters {
    /// The layer whose activation multiplies `up`.
    pub gate: Option<LinearParameters>,
    /// The layer into the inner width.
    pub up: LinearParameters,
    /// The layer into the outputs.
    pub down: LinearParameters,
}

/// `[x +] W_down f(W_up n)`, or gated `[x +] W_down (f(W_gate n) ∘ W_up n)`, with `n` the normed x.
///
/// # Shapes
/// - `x`: `[.., D]`; result: `[.., outputs of W_down]`
///
/// # Reference
/// [`relin_kernels::feed_forward`].
pub fn feed_forward<const D: usize>(
    activation: Activation,
    residual: bool,
    x: Tensor<D>,
    norm: Option<NormParameters>,
    layers: FeedForwardParameters,
) -> Tensor<D> {
    let device = x.device();
    let (norm, [scale, norm_bias]) = norm_inputs(norm, &device);
    let gated = layers.gate.is_some();
    let [gate, gate_bias] = match layers.gate {
        Some(gate) => linear_inputs(gate),
        None => [or_empty::<2>(None, &device), or_empty::<1>(None, &device)],
    };
    let ([up, up_bias], [down, down_bias]) = (linear_inputs(layers.up), linear_inputs(layers.down));
    let kernel = Operator { activation, residual, norm, gated };
    let inputs = [x.into_dispatch(), scale, norm_bias, gate, gate_bias, up, up_bias, down, down_bias];
    apply(kernel, inputs)
}

#[derive(Debug)]
struct Operator {
    activation: Activation,
    residual: bool,
    norm: Option<NormShape>,
    gated: bool,
}

impl Operator {
    fn layer<'a>(&self, parameters: [Operand<'a>; 8]) -> FeedForward<'a, f32> {
        let [scale, norm_bias, gate, gate_bias, up, up_bias, down, down_bias] = parameters;
        FeedForward {
            norm: self.norm.map(|norm| norm.with(scale, norm_bias)),
            activation: self.activation,
            residual: self.residual,
            gate: self.gated.then(|| linear_of(gate, gate_bias)),
            up: linear_of(up, up_bias),
            down: linear_of(down, down_bias),
        }
    }
}

impl Kernel<9> for Operator {
    /// The inner layer before its activation.
    type Saved = Buffer<f32>;

    fn forward(&self, [x, parameters @ ..]: [Operand<'_>; 9]) -> (Vec<usize>, Vec<f32>, Buffer<f32>) {
        let layer = self.layer(parameters);
        let len = x.data.len();
        let (mut y, mut inner) = (buffers::take(layer.outputs(len)), buffers::take(layer.kept(len)));
        layer.forward(&mut y, &mut inner, x.data);
        let (_, rows) = x.shape.split_last().expect("rows have a width");
        ([rows, &[layer.down.outputs]].concat(), y.into_vec(), inner)
    }

    fn backward(
        &self,
        [x, parameters @ ..]: [Operand<'_>; 9],
        _output: Operand<'_>,
        grad: Operand<'_>,
        inner: Buffer<f32>,
    ) -> [Vec<f32>; 9] {
        let mut dx = buffers::take(x.data.len());
        let gradients = self.layer(parameters).backward(&mut dx, grad.data, &inner, x.data);
        let [d_scale, d_norm_bias] = norm_outputs(gradients.norm);
        let [d_gate, d_gate_bias] = gradients.gate.map(linear_outputs).unwrap_or_default();
        let ([d_up, d_up_bias], [d_down, d_down_bias]) =
            (linear_outputs(gradients.up), linear_outputs(gradients.down));
        [dx.into_vec(), d_scale, d_norm_bias, d_gate, d_gate_bias, d_up, d_up_bias, d_down, d_down_bias]
    }
}
