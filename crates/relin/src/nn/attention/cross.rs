//! Attention to another sequence: queries from one, keys and values from the other.

use burn::tensor::Tensor;
use relin_kernels::encoding::Side;
use relin_kernels::segments::Segment;

use super::{Attention, Kind};
use crate::nn::{Norm, linear_parameters};
use crate::ops::{self, OwnedMask};

impl Attention {
    /// Attention of `norm(x)` to `source`, plus `residual` if there is one. Positions count from the offsets of the mask's
    /// segments on either side.
    ///
    /// # Shapes
    /// `x`: `[B, T, D]`; `source`: `[B, T', D]`; result: `[B, T, D]`
    ///
    /// # Panics
    /// If the mask does not fit the tensors.
    pub fn forward_cross(
        &self,
        norm: &Norm,
        x: Tensor<3>,
        source: Tensor<3>,
        mask: OwnedMask,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let shape = x.dims();
        let q = self.project_queries(norm, x);
        let [k, v] = self.project_source(source);
        let out = match self.kind {
            Kind::Linear { .. } => {
                let parameters = self.position.parameters(&q.device());
                ops::linear_attention(&self.linear(), mask, [q, k, v], parameters)
            }
            Kind::Softmax => {
                let parameters = self.position.bias_parameters(&q.device());
                let first = |segments: &[Segment]| segments.first().map_or(0, |segment| segment.offset);
                let (queries, keys) = (first(mask.as_mask().queries()), first(mask.as_mask().keys()));
                let q = self.position.forward(Side::Query, queries, q);
                let k = self.position.forward(Side::Key, keys, k);
                ops::softmax_attention(self.softmax(), mask, [q, k, v], parameters)
            }
        };
        self.finish(out.reshape(shape), residual)
    }

    /// Queries of `norm(x)`, `[B, T, D]` to `[B, T, H, K]`.
    pub fn project_queries(&self, norm: &Norm, x: Tensor<3>) -> Tensor<4> {
        let [batch, time, width] = x.dims();
        let q = ops::linear(x, Some(norm.parameters()), linear_parameters(&self.q_proj), None);
        q.reshape([batch, time, self.heads, width / self.heads])
    }

    /// Keys and values, `[B, T', D]` to `[B, T', H, K]` each.
    pub fn project_source(&self, source: Tensor<3>) -> [Tensor<4>; 2] {
        let [batch, time, width] = source.dims();
        let heads = [batch, time, self.heads, width / self.heads];
        [&self.k_proj, &self.v_proj]
            .map(|layer| ops::linear(source.clone(), None, linear_parameters(layer), None).reshape(heads))
    }
}
