//! Dropout on tensors, its mask a pure function of a seed.

use burn::tensor::Tensor;
use relin_kernels::buffers;
use relin_kernels::dropout::Dropout;

use super::bridge::{Kernel, Operand, apply};

/// Inverted dropout with a given generator: the same elements fall out whenever it is applied again.
pub fn dropout<const D: usize>(dropout: Dropout, x: Tensor<D>) -> Tensor<D> {
    apply(Operator { dropout }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    dropout: Dropout,
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let mut out = buffers::take(x.data.len());
        self.dropout.apply(&mut out, x.data);
        (x.shape.to_vec(), out.into_vec(), ())
    }

    fn backward(
        &self,
        [x]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 1] {
        let mut dx = buffers::take(x.data.len());
        self.dropout.apply(&mut dx, grad.data);
        [dx.into_vec()]
    }
}
