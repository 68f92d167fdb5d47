//! A factor for each sequence of a batch.

use burn::tensor::Tensor;
use relin_kernels::buffers;

use super::bridge::{Kernel, Operand, apply};

/// `out_b = factors_b x_b`, with factors that are constants.
///
/// # Shapes
/// - `x` and result: `[B, T, D]`; `factors`: B
///
/// # Panics
/// If there are not B factors.
pub fn scale_rows(x: Tensor<3>, factors: Vec<f32>) -> Tensor<3> {
    assert_eq!(x.dims()[0], factors.len(), "{} factors for {} rows", factors.len(), x.dims()[0]);
    apply(Operator { factors }, [x.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    factors: Vec<f32>,
}

impl Operator {
    /// The map is diagonal, so that it is its own transpose.
    fn scaled(&self, x: &[f32]) -> Vec<f32> {
        let mut out = buffers::take(x.len());
        let width = (x.len() / self.factors.len().max(1)).max(1);
        for ((out, x), &factor) in out.chunks_mut(width).zip(x.chunks(width)).zip(&self.factors) {
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = factor * x);
        }
        out.into_vec()
    }
}

impl Kernel<1> for Operator {
    type Saved = ();

    fn forward(&self, [x]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, ()) {
        (x.shape.to_vec(), self.scaled(x.data), ())
    }

    fn backward(
        &self,
        _inputs: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 1] {
        [self.scaled(grad.data)]
    }
}
