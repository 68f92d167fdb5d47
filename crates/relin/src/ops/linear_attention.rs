//! Linear attention on tensors.

use burn::tensor::Tensor;
use relin_kernels::linear_attention::{Inputs, LinearAttention, State};

use super::bridge::{Kernel, Operand, apply};
use super::mask::OwnedMask;

/// State of linear attention as tensors: `s` `[B, H, K', V]` and `z` `[B, H, Z]`, one row a segment.
#[derive(Clone, Debug)]
pub struct AttentionState {
    /// `Σ k̃_t v_t^T`.
    pub s: Tensor<4>,
    /// `Σ` of the normaliser's key features; `Z = 0` without a normaliser.
    pub z: Tensor<3>,
}

/// Linear attention, differentiable in `q`, `k`, `v` and the encoding's parameters.
///
/// # Shapes
/// - `q`: `[B, T, H, K]`; `k`: `[B, T', H, K]`; `v`: `[B, T', H, V]`; `params`: flat
/// - result: `[B, T, H, V]`
///
/// The segments of `mask` count tokens along `B·T`.
///
/// # Reference
/// [`relin_kernels::linear_attention`].
pub fn linear_attention(
    attention: &LinearAttention<f32>,
    mask: OwnedMask,
    [q, k, v]: [Tensor<4>; 3],
    params: Tensor<1>,
) -> Tensor<4> {
    let device = q.device().without_autodiff();
    let zero = attention.zero_state(0);
    let (s, z) = (Tensor::<1>::from_floats(&*zero.s, &device), Tensor::<1>::from_floats(&*zero.z, &device));
    let kernel = Operator { attention: attention.clone(), mask, stateful: false };
    let inputs = [q, k, v].map(Tensor::into_dispatch);
    let [q, k, v] = inputs;
    apply(kernel, [q, k, v, params.into_dispatch(), s.into_dispatch(), z.into_dispatch()])
}

/// [`linear_attention`] that continues from a state and returns the next, differentiable in both.
pub fn linear_attention_with_state(
    attention: &LinearAttention<f32>,
    mask: OwnedMask,
    [q, k, v]: [Tensor<4>; 3],
    params: Tensor<1>,
    initial: AttentionState,
) -> (Tensor<4>, AttentionState) {
    let [b, t, h, _] = q.dims();
    let value_dim = attention.value_dim;
    let (s_dims, z_dims) = (initial.s.dims(), initial.z.dims());
    let kernel = Operator { attention: attention.clone(), mask, stateful: true };
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    let (s, z) = (initial.s.into_dispatch(), initial.z.into_dispatch());
    let flat: Tensor<1> = apply(kernel, [q, k, v, params.into_dispatch(), s, z]);
    let out = part(&flat, 0, [b, t, h, value_dim]);
    let s = part(&flat, b * t * h * value_dim, s_dims);
    let z = part(&flat, b * t * h * value_dim + s_dims.iter().product::<usize>(), z_dims);
    (out, AttentionState { s, z })
}

/// The elements of `flat` from `from` on, in the shape of `dims`; nothing is cut out for a shape without elements
/// (no normaliser, no tokens), since burn takes a 0 in `reshape` for "as in the input".
fn part<const D: usize>(flat: &Tensor<1>, from: usize, dims: [usize; D]) -> Tensor<D> {
    match dims.iter().product() {
        0 => Tensor::zeros(dims, &flat.device()),
        len => flat.clone().narrow(0, from, len).reshape(dims),
    }
}

/// With `stateful`, the result is `[out | S | z]` laid end to end, since a node of the graph has one result.
#[derive(Debug)]
struct Operator {
    attention: LinearAttention<f32>,
    mask: OwnedMask,
    stateful: bool,
}

impl Operator {
    fn initial(&self, s: Operand<'_>, z: Operand<'_>) -> Option<State<f32>> {
        self.stateful.then(|| State { s: s.data.to_vec(), z: z.data.to_vec() })
    }
}

impl Kernel<6> for Operator {
    type Saved = ();

    fn forward(&self, [q, k, v, params, s, z]: [Operand<'_>; 6]) -> (Vec<usize>, Vec<f32>, ()) {
        let initial = self.initial(s, z);
        let inputs =
            Inputs { q: q.data, k: k.data, v: v.data, params: params.data, initial: initial.as_ref() };
        let output = self.attention.forward(self.mask.as_mask(), inputs);
        if self.stateful {
            let flat = [output.out, output.state.s, output.state.z].concat();
            return (vec![flat.len()], flat, ());
        }
        (vec![q.shape[0], q.shape[1], self.attention.heads, self.attention.value_dim], output.out, ())
    }

    fn backward(
        &self,
        [q, k, v, params, s, z]: [Operand<'_>; 6],
        output: Operand<'_>,
        grad: Operand<'_>,
        _saved: (),
    ) -> [Vec<f32>; 6] {
        let initial = self.initial(s, z);
        let inputs =
            Inputs { q: q.data, k: k.data, v: v.data, params: params.data, initial: initial.as_ref() };
        let out_len = q.data.len() / self.attention.key_dim() * self.attention.value_dim;
        let (d_out, d_rest) = grad.data.split_at(out_len);
        let d_state = self.stateful.then(|| {
            let (d_s, d_z) = d_rest.split_at(s.data.len());
            State { s: d_s.to_vec(), z: d_z.to_vec() }
        });
        let out = &output.data[..out_len];
        let gradients = self.attention.backward(self.mask.as_mask(), inputs, out, d_out, d_state.as_ref());
        let initial = match self.stateful {
            true => gradients.initial,
            false => State { s: Vec::new(), z: Vec::new() },
        };
        [gradients.q, gradients.k, gradients.v, gradients.params, initial.s, initial.z]
    }
}
