//! Exact softmax attention on tensors.

use burn::tensor::Tensor;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::softmax_attention::{Gradients, Inputs, Saved, SoftmaxAttention};

use super::bridge::{Kernel, Operand, apply};
use super::mask::OwnedMask;

/// Softmax attention, differentiable in `q`, `k` and `v`.
///
/// # Shapes
/// - `q`: `[B, T, H, K]`; `k`: `[B, T', H, K]`; `v`: `[B, T', H, V]`; result: `[B, T, H, V]`
///
/// # Panics
/// If the segments of `mask` do not fit the tensors.
pub fn softmax_attention(
    attention: SoftmaxAttention,
    mask: OwnedMask,
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
) -> Tensor<4> {
    apply(Operator { attention, mask }, [q.into_dispatch(), k.into_dispatch(), v.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    attention: SoftmaxAttention,
    mask: OwnedMask,
}

impl Kernel<3> for Operator {
    /// The log-sum-exp of each row.
    type Saved = Vec<f32>;

    fn forward(&self, [q, k, v]: [Operand<'_>; 3]) -> (Vec<usize>, Vec<f32>, Vec<f32>) {
        let shape = vec![q.shape[0], q.shape[1], self.attention.heads, self.attention.value_dim];
        let mut out = buffers::take(shape.iter().product());
        let mut lse = vec![0.0; q.shape[0] * q.shape[1] * self.attention.heads];
        let inputs = Inputs { q: q.data, k: k.data, v: v.data };
        let result = self.attention.forward(&mut out, &mut lse, inputs, self.mask.as_mask());
        result.unwrap_or_else(|error| panic!("{error}"));
        (shape, out.into_vec(), lse)
    }

    fn backward(
        &self,
        [q, k, v]: [Operand<'_>; 3],
        output: Operand<'_>,
        grad: Operand<'_>,
        lse: Vec<f32>,
    ) -> [Vec<f32>; 3] {
        let [mut dq, mut dk, mut dv] = [q, k, v].map(|operand| buffers::take(operand.data.len()));
        let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
        let inputs = Inputs { q: q.data, k: k.data, v: v.data };
        let saved = Saved { out: output.data, lse: &lse, dout: grad.data };
        let result = self.attention.backward(gradients, inputs, saved, self.mask.as_mask());
        result.unwrap_or_else(|error| panic!("{error}"));
        [dq, dk, dv].map(Buffer::into_vec)
    }
}
