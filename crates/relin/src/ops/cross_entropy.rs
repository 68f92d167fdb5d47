//! The output projection and cross entropy as one operator.

use burn::tensor::Tensor;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::cross_entropy::{CrossEntropy, Head};

use super::bridge::{Kernel, Operand, apply};

/// Target of tokens that count for nothing.
pub const IGNORE: u32 = u32::MAX;

/// Mean cross entropy of `softmax(hidden · weight^T)`, in nats a target; the logits never exist as a whole.
///
/// # Shapes
/// - `hidden`: `[N, D]`; `weight`: `[vocab, D]`; `targets`: `N`; result: `[1]`
///
/// # Panics
/// If a target is neither below the vocabulary size nor [`IGNORE`].
pub fn cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Vec<u32>) -> Tensor<1> {
    apply(Operator { targets }, [hidden.into_dispatch(), weight.into_dispatch()])
}

/// The cross entropy of each token, for evaluation.
///
/// # Panics
/// As [`cross_entropy`].
pub fn token_losses(logits: Tensor<2>, targets: &[u32]) -> Vec<f32> {
    let [n, vocab] = logits.dims();
    let logits = crate::ops::to_vec(logits);
    let mut losses = vec![0.0; n];
    let loss = CrossEntropy { vocab, ignore: IGNORE }.forward(&mut losses, &logits, targets);
    loss.unwrap_or_else(|error| panic!("{error}"));
    losses
}

#[derive(Debug)]
struct Operator {
    targets: Vec<u32>,
}

impl Kernel<2> for Operator {
    /// The gradients of hidden and weight, which the same pass yields.
    type Saved = [Buffer<f32>; 2];

    fn forward(&self, [hidden, weight]: [Operand<'_>; 2]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let (vocab, width) = (weight.shape[0], weight.shape[1]);
        let mut losses = vec![0.0; self.targets.len()];
        let (mut d_hidden, mut d_weight) =
            (buffers::take(hidden.data.len()), buffers::take(weight.data.len()));
        let head = Head { hidden: hidden.data, weight: weight.data, width };
        let loss = CrossEntropy { vocab, ignore: IGNORE }.fused(
            &mut losses,
            &mut d_hidden,
            &mut d_weight,
            head,
            &self.targets,
        );
        let loss = loss.unwrap_or_else(|error| panic!("{error}"));
        (vec![1], vec![loss.mean as f32], [d_hidden, d_weight])
    }

    fn backward(
        &self,
        _inputs: [Operand<'_>; 2],
        _output: Operand<'_>,
        grad: Operand<'_>,
        saved: Self::Saved,
    ) -> [Vec<f32>; 2] {
        let factor = grad.data[0];
        saved.map(|mut gradient| {
            // The loss is where gradients begin, almost always with 1.
            if factor != 1.0 {
                gradient.iter_mut().for_each(|g| *g *= factor);
            }
            gradient.into_vec()
        })
    }
}
