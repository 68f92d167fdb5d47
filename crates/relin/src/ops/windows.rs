//! Windows of a grid of tokens.

use burn::tensor::Tensor;
use relin_kernels::buffers;
use relin_kernels::windows::Windows;

use super::bridge::{Kernel, Operand, apply};

/// Overlapping windows of sequences that have `lens` tokens.
///
/// # Shapes
/// `[B, tokens, channels]` to `[B, windows, width]`
///
/// # Panics
/// If the sizes do not agree.
///
/// # Reference
/// [`relin_kernels::windows`].
pub fn windows(x: Tensor<3>, windows: Windows, lens: Vec<usize>) -> Tensor<3> {
    apply(Operator { windows, lens }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    windows: Windows,
    lens: Vec<usize>,
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        let shape = [self.lens.len(), self.windows.count(), self.windows.width()];
        let mut y = buffers::take(shape.iter().product());
        self.windows.forward(&mut y, x.data, &self.lens);
        (shape.to_vec(), y.into_vec(), ())
    }

    fn backward(
        &self,
        [x]: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 1] {
        let mut dx = buffers::take(x.data.len());
        self.windows.vjp(&mut dx, grad.data, &self.lens);
        [dx.into_vec()]
    }
}
