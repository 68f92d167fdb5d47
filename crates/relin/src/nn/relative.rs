//! A relative encoding with its learned parameters: [`Lrpe`](relin_kernels::encoding::Lrpe) and all others.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::{Encoding, EncodingConfig, EncodingError, Parameter, Place, Side};

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
    /// Builds the module. Parameters that all layers are to have in common are its own, until
    /// [`with_shared`](Relative::with_shared) gives it those of the model.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the width.
    pub fn init(&self, device: &Device) -> Result<Relative, EncodingError> {
        let encoding = self.encoding.build::<f32>(self.place)?;
        let parameters = flat(encoding.parameters(), device);
        Ok(Relative { parameters, shared: None, encoding: Shared(encoding) })
    }

    /// [`init`](Self::init) without the parameters that the layers have in common, which come back apart.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the width.
    pub fn init_layer(&self, device: &Device) -> Result<(Relative, Option<Param<Tensor<1>>>), EncodingError> {
        let mut relative = self.init(device)?;
        let (shared, own) = relative.split_parameters();
        relative.parameters = flat(own, device);
        Ok((relative, flat(shared, device)))
    }
}

/// Initial values end to end, if there are any.
fn flat(parameters: Vec<Parameter>, device: &Device) -> Option<Param<Tensor<1>>> {
    let initial: Vec<f32> = parameters.into_iter().flat_map(|p| p.init).map(|x| x as f32).collect();
    let len = initial.len();
    (len > 0).then(|| Param::from_tensor(Tensor::from_data(TensorData::new(initial, [len]), device)))
}

/// A relative encoding; its learned tensors lie end to end in one flat parameter.
#[derive(Module, Debug)]
pub struct Relative {
    parameters: Option<Param<Tensor<1>>>,
    /// What comes before them and belongs to the model.
    #[module(skip)]
    shared: Option<Tensor<1>>,
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

    /// The encoding's parameters: those that all layers have in common, which come first, and its own.
    pub fn split_parameters(&self) -> (Vec<Parameter>, Vec<Parameter>) {
        let names = self.encoding().shared_parameters();
        self.encoding().parameters().into_iter().partition(|parameter| names.contains(&parameter.name))
    }

    /// The same with the model's parameters before its own.
    pub fn with_shared(&self, shared: Tensor<1>) -> Self {
        Self { shared: Some(shared), ..self.clone() }
    }

    /// The same with the noise number `draw`; `None` if it has none to redraw.
    pub fn redrawn(&self, draw: u64) -> Option<Self> {
        self.encoding().redrawn(draw).map(|encoding| Self { encoding: Shared(encoding), ..self.clone() })
    }

    /// The parameters' values, flat; empty if nothing is learned.
    pub fn parameters(&self, device: &Device) -> Tensor<1> {
        let own = self.parameters.as_ref().map(Param::val);
        match (self.shared.clone(), own) {
            (Some(shared), Some(own)) => Tensor::cat(vec![shared, own], 0),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Tensor::zeros([0], &device.clone().without_autodiff()),
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
