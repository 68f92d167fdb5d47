//! Linear self-attention on tensors together with its projections: queries, keys and values are no nodes of the
//! graph, and their gradients meet in one product instead of being added up.

use burn::tensor::Tensor;
use relin_kernels::buffers::{self, Buffer};
use relin_kernels::linear::Projections;
use relin_kernels::linear_attention::{Inputs, LinearAttention};

use super::bridge::{Kernel, Operand, apply};
use super::mask::OwnedMask;
use super::parameters::{
    LinearParameters, NormParameters, NormShape, linear_inputs, linear_of, linear_outputs, norm_inputs,
    norm_outputs,
};

/// [`linear_attention`](super::linear_attention) of `q`, `k` and `v = W n + b`, with `n` the normed x and `layers`
/// in that order.
///
/// # Shapes
/// - `x`: `[B, T, D]`; `params`: flat; result: `[B, T, H·V]`
pub fn linear_self_attention(
    attention: &LinearAttention<f32>,
    mask: OwnedMask,
    x: Tensor<3>,
    norm: Option<NormParameters>,
    layers: [LinearParameters; 3],
    params: Tensor<1>,
) -> Tensor<3> {
    let (norm, [scale, norm_bias]) = norm_inputs(norm, &x.device());
    let [[wq, bq], [wk, bk], [wv, bv]] = layers.map(linear_inputs);
    let kernel = Operator { attention: attention.clone(), mask, norm };
    apply(kernel, [x.into_dispatch(), scale, norm_bias, wq, bq, wk, bk, wv, bv, params.into_dispatch()])
}

#[derive(Debug)]
struct Operator {
    attention: LinearAttention<f32>,
    mask: OwnedMask,
    norm: Option<NormShape>,
}

impl Operator {
    fn projections<'a>(&self, parameters: [Operand<'a>; 8]) -> Projections<'a, f32, 3> {
        let [scale, norm_bias, wq, bq, wk, bk, wv, bv] = parameters;
        let norm = self.norm.map(|norm| norm.with(scale, norm_bias));
        Projections { norm, layers: [linear_of(wq, bq), linear_of(wk, bk), linear_of(wv, bv)] }
    }
}

impl Kernel<10> for Operator {
    /// Queries, keys and values.
    type Saved = [Buffer<f32>; 3];

    fn forward(&self, inputs: [Operand<'_>; 10]) -> (Vec<usize>, Vec<f32>, Self::Saved) {
        let [x, parameters @ .., params] = inputs;
        let projections = self.projections(parameters);
        let tokens = x.shape[0] * x.shape[1];
        let mut qkv = projections.layers.map(|layer| buffers::take(tokens * layer.outputs));
        projections.forward(qkv.each_mut().map(|y| &mut **y), x.data, None);
        let [q, k, v] = &qkv;
        let inputs = Inputs { q, k, v, params: params.data, initial: None };
        let out = self.attention.forward(self.mask.as_mask(), inputs).out;
        (vec![x.shape[0], x.shape[1], self.attention.heads * self.attention.value_dim], out, qkv)
    }

    fn backward(
        &self,
        inputs: [Operand<'_>; 10],
        output: Operand<'_>,
        grad: Operand<'_>,
        [q, k, v]: Self::Saved,
    ) -> [Vec<f32>; 10] {
        let [x, parameters @ .., params] = inputs;
        let inputs = Inputs { q: &q, k: &k, v: &v, params: params.data, initial: None };
        let d = self.attention.backward(self.mask.as_mask(), inputs, output.data, grad.data, None);
        let mut dx = buffers::take(x.data.len());
        let gradients = self.projections(parameters).backward(&mut dx, [&d.q, &d.k, &d.v], x.data);
        [d.q, d.k, d.v].into_iter().for_each(buffers::give);
        let [d_scale, d_norm_bias] = norm_outputs(gradients.norm);
        let [[d_wq, d_bq], [d_wk, d_bk], [d_wv, d_bv]] = gradients.layers.map(linear_outputs);
        [dx.into_vec(), d_scale, d_norm_bias, d_wq, d_bq, d_wk, d_bk, d_wv, d_bv, d.params]
    }
}
