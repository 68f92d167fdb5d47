//! What is largest of each feature over the tokens of each sequence.

use burn::tensor::Tensor;
use relin_kernels::{buffers, pooling};

use super::bridge::{Kernel, Operand, apply};

/// The largest of the first `lens[b]` tokens of each sequence, feature by feature.
///
/// # Shapes
/// `[B, T, D]` to `[B, D]`
///
/// # Panics
/// If there are not B lengths, or one is above T.
pub fn max(x: Tensor<3>, lens: Vec<usize>) -> Tensor<2> {
    apply(Operator { lens }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    lens: Vec<usize>,
}

impl Kernel<1> for Operator {
    /// The token that each largest number is from.
    type Saved = Vec<u32>;

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, Vec<u32>) {
        let (rows, width) = (x.shape[0], x.shape[2]);
        let (mut out, mut at) = (buffers::take(rows * width), vec![0; rows * width]);
        pooling::max(&mut out, &mut at, x.data, &self.lens, width);
        (vec![rows, width], out.into_vec(), at)
    }

    fn backward(
        &self,
        [x]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        at: Vec<u32>,
    ) -> [Vec<f32>; 1] {
        let mut dx = buffers::take(x.data.len());
        pooling::max_vjp(&mut dx, grad.data, &at, &self.lens, x.shape[2]);
        [dx.into_vec()]
    }
}
