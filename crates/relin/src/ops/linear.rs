//! A linear layer on tensors, with the norm before it and the residual after it.

use burn::tensor::Tensor;
use relin_kernels::buffers;
use relin_kernels::linear::Projections;

use super::bridge::{Kernel, Operand, apply};
use super::parameters::{
    LinearParameters, NormParameters, NormShape, given, linear_inputs, linear_of, linear_outputs,
    norm_inputs, norm_outputs, or_empty,
};

/// `norm(x) W + b + residual`, without what is `None`.
///
/// # Shapes
/// - `x`: `[.., in]`; `residual`, result: `[.., out]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    norm: Option<NormParameters>,
    layer: LinearParameters,
    residual: Option<Tensor<D>>,
) -> Tensor<D> {
    let device = x.device();
    let (norm, [scale, norm_bias]) = norm_inputs(norm, &device);
    let [weight, bias] = linear_inputs(layer);
    apply(Operator { norm }, [x.into_dispatch(), or_empty(residual, &device), scale, norm_bias, weight, bias])
}

#[derive(Debug)]
struct Operator {
    norm: Option<NormShape>,
}

impl Operator {
    fn layer<'a>(&self, [scale, norm_bias, weight, bias]: [Operand<'a>; 4]) -> Projections<'a, f32, 1> {
        let norm = self.norm.map(|norm| norm.with(scale, norm_bias));
        Projections { norm, layers: [linear_of(weight, bias)] }
    }
}

impl Kernel<6> for Operator {
    type Saved = ();

    fn forward(&self, [x, residual, parameters @ ..]: [Operand<'_>; 6]) -> (Vec<usize>, Vec<f32>, ()) {
        let layer = self.layer(parameters);
        let (inputs, outputs) = (layer.layers[0].inputs, layer.layers[0].outputs);
        let mut shape = x.shape.to_vec();
        assert_eq!(shape.pop(), Some(inputs), "x of shape {:?} before a layer of {inputs} inputs", x.shape);
        shape.push(outputs);
        let mut y = buffers::take(x.data.len() / inputs * outputs);
        layer.forward([&mut *y], x.data, given(residual));
        (shape, y.into_vec(), ())
    }

    fn backward(
        &self,
        [x, residual, parameters @ ..]: [Operand<'_>; 6],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 6] {
        let mut dx = buffers::take(x.data.len());
        let gradients = self.layer(parameters).backward(&mut dx, [grad.data], x.data);
        let mut d_residual = buffers::take(residual.data.len());
        d_residual.copy_from_slice(&grad.data[..residual.data.len()]);
        let [d_scale, d_norm_bias] = norm_outputs(gradients.norm);
        let [d_weight, d_bias] = gradients.layers.map(linear_outputs).into_iter().next().unwrap_or_default();
        [dx.into_vec(), d_residual.into_vec(), d_scale, d_norm_bias, d_weight, d_bias]
    }
}
