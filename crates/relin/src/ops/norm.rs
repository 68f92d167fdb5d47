//! Layer and root-mean-square norm on tensors.

use burn::tensor::Tensor;
use relin_kernels::norm::{Norm, NormKind, RowStatistics};

use super::bridge::{Kernel, Operand, apply};

/// Normalises the last axis, then scales it and adds the bias, if there is one.
///
/// # Shapes
/// - `x`: `[.., D]`; `scale`, `bias`: `[D]`
pub fn norm<const D: usize>(
    kind: NormKind,
    eps: f64,
    x: Tensor<D>,
    scale: Tensor<1>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([0], &scale.device().without_autodiff()));
    apply(Operator { kind, eps }, [x.into_dispatch(), scale.into_dispatch(), bias.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    kind: NormKind,
    eps: f64,
}

impl Operator {
    /// An empty bias is none.
    fn norm<'a>(&self, scale: Operand<'a>, bias: Operand<'a>) -> Norm<'a, f32> {
        let bias = (!bias.data.is_empty()).then_some(bias.data);
        Norm { kind: self.kind, width: scale.data.len(), eps: self.eps, scale: Some(scale.data), bias }
    }
}

impl Kernel<3> for Operator {
    type Saved = Vec<RowStatistics<f32>>;

    fn forward(&self, [x, scale, bias]: [Operand<'_>; 3]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let norm = self.norm(scale, bias);
        let mut out = vec![0.0; x.data.len()];
        let mut statistics = vec![RowStatistics::default(); x.data.len() / norm.width];
        norm.forward(&mut out, &mut statistics, x.data);
        (x.shape.to_vec(), out, statistics)
    }

    fn backward(
        &self,
        [x, scale, bias]: [Operand<'_>; 3],
        _output: Operand<'_>,
        grad: Operand<'_>,
        statistics: &Self::Saved,
    ) -> [Vec<f32>; 3] {
        let mut dx = vec![0.0; x.data.len()];
        let parameters = self.norm(scale, bias).backward(&mut dx, grad.data, x.data, statistics);
        [dx, parameters.scale.unwrap_or_default(), parameters.bias.unwrap_or_default()]
    }
}
