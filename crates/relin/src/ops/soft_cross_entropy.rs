//! Cross entropy of targets that are distributions.

use burn::tensor::Tensor;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::cross_entropy;

use super::bridge::{Kernel, Operand, apply};

/// Mean of `−Σ_j y_j log softmax(logits)_j` over the rows, in nats.
///
/// # Shapes
/// - `logits`: `[N, classes]`; `targets` y: `N·classes`, each row summing to 1; result: `[1]`
///
/// # Panics
/// If there are not `N·classes` targets.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Vec<f32>) -> Tensor<1> {
    apply(Operator { targets }, [logits.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    targets: Vec<f32>,
}

impl Kernel<1> for Operator {
    /// The gradient, which the same pass yields.
    type Saved = Buffer<f32>;

    fn forward(&self, [logits]: [Operand<'_>; 1]) -> (Vec<usize>, Vec<f32>, Buffer<f32>) {
        let (rows, classes) = (logits.shape[0], logits.shape[1]);
        let (mut losses, mut dlogits) = (vec![0.0; rows], buffers::take(logits.data.len()));
        let loss =
            cross_entropy::soft_cross_entropy(&mut losses, &mut dlogits, logits.data, &self.targets, classes);
        (vec![1], vec![loss.mean as f32], dlogits)
    }

    fn backward(
        &self,
        _inputs: [Operand<'_>; 1],
        _output: Operand<'_>,
        grad: Operand<'_>,
        mut dlogits: Buffer<f32>,
    ) -> [Vec<f32>; 1] {
        let factor = grad.data[0];
        dlogits.iter_mut().for_each(|d| *d *= factor);
        [dlogits.into_vec()]
    }
}
