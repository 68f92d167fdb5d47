//! Layer and root-mean-square norm.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use relin_kernels::norm::NormKind;

use crate::ops::{self, NormParameters};

/// Configuration of a [`Norm`].
#[derive(Clone, Debug)]
pub struct NormConfig {
    /// What is taken out of each row.
    pub kind: NormKind,
    /// `D`.
    pub width: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl NormConfig {
    /// Scale 1, and bias 0 where there is one (layer norm).
    pub fn init(&self, device: &Device) -> Norm {
        let bias =
            (self.kind == NormKind::Layer).then(|| Param::from_tensor(Tensor::zeros([self.width], device)));
        let weight = Param::from_tensor(Tensor::ones([self.width], device));
        Norm { weight, bias, kind: self.kind, eps: self.eps }
    }
}

/// `x̂ ∘ weight + bias` over the last axis.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale, `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Bias, `[D]`; layer norm only.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: NormKind,
    #[module(skip)]
    eps: f64,
}

impl Norm {
    /// # Shapes
    /// `[.., D]` to `[.., D]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::norm(x, self.parameters())
    }

    /// What operators that begin with this norm take.
    pub fn parameters(&self) -> NormParameters {
        let bias = self.bias.as_ref().map(Param::val);
        NormParameters { kind: self.kind, eps: self.eps, scale: self.weight.val(), bias }
    }
}
