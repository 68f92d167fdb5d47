//! Relative positions with their learned parameters: an encoding ([`Lrpe`](relin_kernels::encoding::Lrpe) and all others), or a
//! bias on the logits of softmax attention.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use relin_kernels::encoding::bias::{Bias, BiasConfig};
use relin_kernels::encoding::{Encoding, EncodingConfig, EncodingError, Parameter, Place, Side};

use crate::ops;

/// Configuration of [`Relative`] positions.
#[derive(Clone, Debug)]
pub struct RelativeConfig {
    /// Which encoding.
    pub encoding: EncodingConfig,
    /// A bias in its stead.
    pub bias: Option<BiasConfig>,
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
        let bias = self.bias.as_ref().map(|bias| bias.build::<f32>(self.place)).transpose()?;
        let encoding = if bias.is_some() { &EncodingConfig::None } else { &self.encoding };
        let encoding = Shared(encoding.build::<f32>(self.place)?);
        let relative = Relative { parameters: None, shared: None, encoding, bias: SharedBias(bias) };
        Ok(Relative { parameters: flat(relative.learned(), device), ..relative })
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

fn none_learned(device: &Device) -> Tensor<1> {
    Tensor::zeros([0], &device.clone().without_autodiff())
}

/// A relative encoding, or a bias with the encoding `none`; its learned tensors lie end to end in one flat parameter.
#[derive(Module, Debug)]
pub struct Relative {
    parameters: Option<Param<Tensor<1>>>,
    /// What comes before them and belongs to the model.
    #[module(skip)]
    shared: Option<Tensor<1>>,
    #[module(skip)]
    encoding: Shared,
    #[module(skip)]
    bias: SharedBias,
}

#[derive(Clone, Debug)]
struct Shared(Arc<dyn Encoding<f32>>);

#[derive(Clone, Debug)]
struct SharedBias(Option<Arc<dyn Bias<f32>>>);

impl Relative {
    /// The encoding itself.
    pub fn encoding(&self) -> &Arc<dyn Encoding<f32>> {
        &self.encoding.0
    }

    /// The bias, if it is one.
    pub fn bias(&self) -> Option<&Arc<dyn Bias<f32>>> {
        self.bias.0.as_ref()
    }

    /// The parameters in order, with their initial values.
    pub fn learned(&self) -> Vec<Parameter> {
        self.bias().map_or_else(|| self.encoding().parameters(), |bias| bias.parameters())
    }

    /// The parameters: those that all layers have in common, which come first, and its own.
    pub fn split_parameters(&self) -> (Vec<Parameter>, Vec<Parameter>) {
        let names = self.encoding().shared_parameters();
        self.learned().into_iter().partition(|parameter| names.contains(&parameter.name))
    }

    /// The same with the model's parameters before its own.
    pub fn with_shared(&self, shared: Tensor<1>) -> Self {
        Self { shared: Some(shared), ..self.clone() }
    }

    /// The same with the noise number `draw`; `None` if it has none to redraw.
    pub fn redrawn(&self, draw: u64) -> Option<Self> {
        self.encoding().redrawn(draw).map(|encoding| Self { encoding: Shared(encoding), ..self.clone() })
    }

    /// The values of the bias's parameters, flat; empty without a bias.
    pub fn bias_parameters(&self, device: &Device) -> Tensor<1> {
        match self.bias() {
            Some(_) => self.parameters(device),
            None => none_learned(device),
        }
    }

    /// The parameters' values, flat; empty if nothing is learned.
    pub fn parameters(&self, device: &Device) -> Tensor<1> {
        let own = self.parameters.as_ref().map(Param::val);
        match (self.shared.clone(), own) {
            (Some(shared), Some(own)) => Tensor::cat(vec![shared, own], 0),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => none_learned(device),
        }
    }

    /// `out[b, t, h] = M_{offset + t} x[b, t, h]`; a bias leaves `x` as it is.
    ///
    /// # Shapes
    /// - `x`: `[B, T, H, K]` to `[B, T, H, K']`
    pub fn forward(&self, side: Side, offset: i64, x: Tensor<4>) -> Tensor<4> {
        if self.bias().is_some() {
            return x;
        }
        let parameters = self.parameters(&x.device());
        ops::encode(self.encoding(), side, offset, x, parameters)
    }
}
