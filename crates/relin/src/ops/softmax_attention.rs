//! Exact softmax attention on tensors.

use burn::tensor::Tensor;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::softmax_attention::{Gradients, Inputs, Saved, SoftmaxAttention};

use super::bridge::{Kernel, Operand, apply};
use super::mask::OwnedMask;

/// Softmax attention, differentiable in `q`, `k`, `v` and the bias's parameters.
///
/// # Shapes
/// - `q`: `[B, T, H, K]`; `k`: `[B, T', H, K]`; `v`: `[B, T', H, V]`; result: `[B, T, H, V]`
/// - `params`: flat; empty without a bias
///
/// # Panics
/// If the segments of `mask` do not fit the tensors, or the parameters do not fit the bias.
pub fn softmax_attention(
    attention: SoftmaxAttention<f32>,
    mask: OwnedMask,
    qkv: [Tensor<4>; 3],
    params: Tensor<1>,
) -> Tensor<4> {
    let [q, k, v] = qkv.map(Tensor::into_dispatch);
    apply(Operator { attention, mask }, [q, k, v, params.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    attention: SoftmaxAttention<f32>,
    mask: OwnedMask,
}

impl Kernel<4> for Operator {
    /// The log-sum-exp of each row.
    type Saved = Vec<f32>;

    fn forward(&self, [q, k, v, params]: [Operand<'_>; 4]) -> (Vec<usize>, Vec<f32>, Vec<f32>) {
        let shape = vec![q.shape[0], q.shape[1], self.attention.heads, self.attention.value_dim];
        let mut out = buffers::take(shape.iter().product());
        let mut lse = vec![0.0; q.shape[0] * q.shape[1] * self.attention.heads];
        let inputs = Inputs { q: q.data, k: k.data, v: v.data, params: params.data };
        let result = self.attention.forward(&mut out, &mut lse, inputs, self.mask.as_mask());
        result.unwrap_or_else(|error| panic!("{error}"));
        (shape, out.into_vec(), lse)
    }

    fn backward(
        &self,
        [q, k, v, params]: [Operand<'_>; 4],
        output: Operand<'_>,
        grad: Operand<'_>,
        lse: Vec<f32>,
    ) -> [Vec<f32>; 4] {
        let [mut dq, mut dk, mut dv, mut d_params] =
            [q, k, v, params].map(|operand| buffers::take(operand.data.len()));
        let gradients = Gradients { dq: &mut dq, dk: &mut dk, dv: &mut dv, d_params: &mut d_params };
        let inputs = Inputs { q: q.data, k: k.data, v: v.data, params: params.data };
        let saved = Saved { out: output.data, lse: &lse, dout: grad.data };
        let result = self.attention.backward(gradients, inputs, saved, self.mask.as_mask());
        result.unwrap_or_else(|error| panic!("{error}"));
        [dq, dk, dv, d_params].map(Buffer::into_vec)
    }
}
