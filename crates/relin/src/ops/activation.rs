//! Elementwise activations on tensors.

use burn::tensor::Tensor;
use relin_kernels::activation::Activation;

use super::bridge::{Kernel, Operand, apply};

/// Applies an activation to every element.
pub fn activation<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    apply(Operator { activation }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    activation: Activation,
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let mut out = vec![0.0; x.data.len()];
        self.activation.forward(&mut out, x.data);
        (x.shape.to_vec(), out, ())
    }

    fn backward(
        &self,
        [x]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: &(),
    ) -> [Vec<f32>; 1] {
        let mut dx = vec![0.0; x.data.len()];
        self.activation.backward(&mut dx, grad.data, x.data);
        [dx]
    }
}
