//! The mean over the tokens of each sequence.

use burn::tensor::Tensor;
use relin_kernels::{buffers, pooling};

use super::bridge::{Kernel, Operand, apply};

/// The mean of the first `lens[b]` tokens of each sequence.
///
/// # Shapes
/// `[B, T, D]` to `[B, D]`
///
/// # Panics
/// If there are not B lengths, or one is above T.
pub fn mean(x: Tensor<3>, lens: Vec<usize>) -> Tensor<2> {
    apply(Operator { lens }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    lens: Vec<usize>,
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let (rows, width) = (x.shape[0], x.shape[2]);
        let mut out = buffers::take(rows * width);
        pooling::mean(&mut out, x.data, &self.lens, width);
        (vec![rows, width], out.into_vec(), ())
    }

    fn backward(
        &self,
        [x]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 1] {
        let mut dx = buffers::take(x.data.len());
        pooling::mean_vjp(&mut dx, grad.data, &self.lens, x.shape[2]);
        [dx.into_vec()]
    }
}
