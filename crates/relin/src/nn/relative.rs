//! A relative encoding with its learned parameters: [`Lrpe`](relin_kernels::encoding::Lrpe) and all others.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::{Encoding, EncodingConfig, EncodingError, Place, Side};

use crate::ops;

/// Configuration of a [`Relative`] encoding.
#[derive(Clone, Debug)]
pub struct RelativeConfig {
    /// Which encoding.
    pub encoding: EncodingConfig,
    /// Its width, and where in the model it stands.
    pub place: Place,
}

impl RelativeConfig {
    /// Builds the module.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the width.
    pub fn init(&self, device: &Device) -> Result<Relative, EncodingError> {
        let encoding = self.encoding.build::<f32>(self.place)?;
        let initial: Vec<f32> =
            encoding.parameters().into_iter().flat_map(|p| p.init).map(|x| x as f32).collect();
        let parameters = (!initial.is_empty()).then(|| {
            let len = initial.len();
            Param::from_tensor(Tensor::from_data(TensorData::new(initial, [len]), device))
        });
        Ok(Relative { parameters, encoding: Shared(encoding) })
    }
}

/// A relative encoding; its learned tensors lie end to end in one flat parameter.
#[derive(Module, Debug)]
pub struct Relative {
    parameters: Option<Param<Tensor<1>>>,
    #[module(skip)]
    encoding: Shared,
}

#[derive(Clone, Debug)]
struct Shared(Arc<dyn Encoding<f32>>);

impl Relative {
    /// The encoding itself.
    pub fn encoding(&self) -> &Arc<dyn Encoding<f32>> {
        &self.encoding.0
    }

    /// The parameters' values, flat; empty if nothing is learned.
    pub fn parameters(&self, device: &Device) -> Tensor<1> {
        match &self.parameters {
            Some(parameters) => parameters.val(),
            None => Tensor::zeros([0], &device.clone().without_autodiff()),
        }
    }

    /// `out[b, t, h] = M_{offset + t} x[b, t, h]`.
    ///
    /// # Shapes
    /// - `x`: `[B, T, H, K]` to `[B, T, H, K']`
    pub fn forward(&self, side: Side, offset: i64, x: Tensor<4>) -> Tensor<4> {
        let parameters = self.parameters(&x.device());
        ops::encode(self.encoding(), side, offset, x, parameters)
    }
}
