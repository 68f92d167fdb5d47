//! Parameters of layers on their way into operators; what a layer does not have travels as an empty tensor.

use burn::tensor::{Device, Tensor};
use relin_kernels::linear::{Linear, LinearGradients};
use relin_kernels::norm::{Norm, NormGradients, NormKind};

use super::bridge::{AnyTensor, Operand};

/// A norm and its parameters.
#[derive(Clone, Debug)]
pub struct NormParameters {
    /// What is taken out of each row.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f64,
    /// Scale, `[D]`.
    pub scale: Tensor<1>,
    /// Bias, `[D]`.
    pub bias: Option<Tensor<1>>,
}

/// The parameters of `y = x W + b`.
#[derive(Clone, Debug)]
pub struct LinearParameters {
    /// `W`, `[in, out]`.
    pub weight: Tensor<2>,
    /// `b`, `[out]`.
    pub bias: Option<Tensor<1>>,
}

/// A norm without its parameters; those are an operator's inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormShape {
    kind: NormKind,
    eps: f64,
}

/// An optional norm as an operator's constant and two inputs.
pub(super) fn norm_inputs(
    norm: Option<NormParameters>,
    device: &Device,
) -> (Option<NormShape>, [AnyTensor; 2]) {
    match norm {
        Some(NormParameters { kind, eps, scale, bias }) => {
            (Some(NormShape { kind, eps }), [scale.into_dispatch(), or_empty(bias, device)])
        }
        None => (None, [or_empty::<1>(None, device), or_empty::<1>(None, device)]),
    }
}

/// A layer as two inputs.
pub(super) fn linear_inputs(layer: LinearParameters) -> [AnyTensor; 2] {
    let device = layer.weight.device();
    [layer.weight.into_dispatch(), or_empty(layer.bias, &device)]
}

/// The tensor, or one without elements that no gradient reaches.
pub(super) fn or_empty<const D: usize>(tensor: Option<Tensor<D>>, device: &Device) -> AnyTensor {
    let empty = || Tensor::zeros([0; D], &device.clone().without_autodiff());
    tensor.unwrap_or_else(empty).into_dispatch()
}

impl NormShape {
    /// The kernel's norm.
    pub(super) fn with<'a>(self, scale: Operand<'a>, bias: Operand<'a>) -> Norm<'a, f32> {
        let Self { kind, eps } = self;
        Norm { kind, width: scale.data.len(), eps, scale: Some(scale.data), bias: given(bias) }
    }
}

/// The kernel's layer.
pub(super) fn linear_of<'a>(weight: Operand<'a>, bias: Operand<'a>) -> Linear<'a, f32> {
    Linear::new(weight.data, given(bias), weight.shape[0], weight.shape[1])
}

/// `None` if there are no elements.
pub(super) fn given(operand: Operand<'_>) -> Option<&[f32]> {
    (!operand.data.is_empty()).then_some(operand.data)
}

/// Gradients in the order of [`norm_inputs`].
pub(super) fn norm_outputs(gradients: NormGradients<f32>) -> [Vec<f32>; 2] {
    [gradients.scale.unwrap_or_default(), gradients.bias.unwrap_or_default()]
}

/// Gradients in the order of [`linear_inputs`].
pub(super) fn linear_outputs(gradients: LinearGradients<f32>) -> [Vec<f32>; 2] {
    [gradients.weight.into_vec(), gradients.bias.unwrap_or_default()]
}
