//! What compares two texts, each read by itself.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::relu};

use crate::nn::linear_parameters;
use crate::ops;

/// `relu(W₂ relu(W₁ [e₁, e₂] + b₁) + b₂)` of the vectors of two texts, before the rows of scores.
///
/// # Reference
/// Long Range Arena (arXiv 2011.04006), document retrieval: its head for two documents, without interaction of the
/// vectors.
#[derive(Module, Debug)]
pub(super) struct PairHead {
    compare: Linear,
    narrow: Linear,
}

impl PairHead {
    /// For vectors of `width`; `inner` numbers after the first layer, half as many after the second.
    pub fn new(width: usize, inner: usize, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let narrow = inner.div_ceil(2);
        Self { compare: linear(2 * width, inner), narrow: linear(inner, narrow) }
    }

    /// Numbers that come out.
    pub fn width(&self) -> usize {
        self.narrow.weight.dims()[1]
    }

    /// # Shapes
    /// `[B, 2·D]` to `[B, width]`
    pub fn forward(&self, vectors: Tensor<2>) -> Tensor<2> {
        let layer = |x, layer: &Linear| relu(ops::linear(x, None, linear_parameters(layer), None));
        layer(layer(vectors, &self.compare), &self.narrow)
    }
}
