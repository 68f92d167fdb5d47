//! Layer and root-mean-square norm on tensors.

use burn::tensor::Tensor;
use relin_kernels::buffers;
use relin_kernels::norm::RowStatistics;

use super::bridge::{Kernel, Operand, apply};
use super::parameters::{NormParameters, NormShape, norm_inputs, norm_outputs};

/// Normalises the last axis, then scales it and adds the bias, if there is one.
///
/// # Shapes
/// - `x`, result: `[.., D]`
pub fn norm<const D: usize>(x: Tensor<D>, norm: NormParameters) -> Tensor<D> {
    let (norm, [scale, bias]) = norm_inputs(Some(norm), &x.device());
    let norm = norm.expect("a norm was given");
    apply(Operator { norm }, [x.into_dispatch(), scale, bias])
}

#[derive(Debug)]
struct Operator {
    norm: NormShape,
}

impl Kernel<3> for Operator {
    type Saved = Vec<RowStatistics<f32>>;

    fn forward(&self, [x, scale, bias]: [Operand<'_>; 3]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let norm = self.norm.with(scale, bias);
        let mut out = buffers::take(x.data.len());
        let mut statistics = vec![RowStatistics::default(); x.data.len() / norm.width];
        norm.forward(&mut out, &mut statistics, x.data);
        (x.shape.to_vec(), out.into_vec(), statistics)
    }

    fn backward(
        &self,
        [x, scale, bias]: [Operand<'_>; 3],
        _output: Operand<'_>,
        grad: Operand<'_>,
        statistics: Self::Saved,
    ) -> [Vec<f32>; 3] {
        let mut dx = buffers::take(x.data.len());
        let gradients = self.norm.with(scale, bias).backward(&mut dx, grad.data, x.data, &statistics);
        let [d_scale, d_bias] = norm_outputs(gradients);
        [dx.into_vec(), d_scale, d_bias]
    }
}
