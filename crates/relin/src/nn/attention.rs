//! Multi-head attention with a relative encoding: linear, or softmax beside it.

mod cross;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::bias::BiasConfig;
use relin_kernels::encoding::{EncodingConfig, EncodingError, Place, Side, Stage};
use relin_kernels::feature_map::{BoundFeatureMap, FeatureMap};
use relin_kernels::linear_attention::{LinearAttention, Normalizer};
use relin_kernels::norm::NormKind;
use relin_kernels::segments::Segment;
use relin_kernels::softmax_attention::SoftmaxAttention;

use super::feed_forward::linear_parameters;
use super::{Norm, NormConfig, Relative, RelativeConfig};
use crate::ops::{self, AttentionState, OwnedMask};

/// What stands between the projections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `φ(q)·φ(k)`, O(T).
    Linear {
        /// φ.
        feature_map: FeatureMap,
        /// Whether the encoding acts before or after φ.
        stage: Stage,
        /// The denominator.
        normalizer: Normalizer,
        /// ε of the denominator.
        eps: f64,
        /// `C`.
        chunk: usize,
    },
    /// `exp(q·k / √K + b)`, O(T²); the encoding acts on q and k, or a bias b on their products.
    Softmax,
}

/// Configuration of an [`Attention`].
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// `D`.
    pub width: usize,
    /// `H`.
    pub heads: usize,
    /// Index of the layer.
    pub layer: usize,
    /// Linear or softmax.
    pub kind: Kind,
    /// The relative encoding.
    pub encoding: EncodingConfig,
    /// A bias in its stead; softmax attention only.
    pub position_bias: Option<BiasConfig>,
    /// Norm of the heads' joined output, before the output projection.
    pub output_norm: Option<NormKind>,
    /// ε of that norm.
    pub norm_eps: f64,
    /// Biases in the projections.
    pub bias: bool,
}

impl AttentionConfig {
    /// Builds the module.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the head size, or linear attention is given a bias.
    pub fn init(&self, device: &Device) -> Result<Attention, EncodingError> {
        let position = self.relative()?.init(device)?;
        Ok(self.init_around(position, device))
    }

    /// [`init`](Self::init) without the encoding's parameters that the layers have in common, which come back apart.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the head size.
    pub fn init_layer(
        &self,
        device: &Device,
    ) -> Result<(Attention, Option<Param<Tensor<1>>>), EncodingError> {
        let (position, shared) = self.relative()?.init_layer(device)?;
        Ok((self.init_around(position, device), shared))
    }

    fn relative(&self) -> Result<RelativeConfig, EncodingError> {
        if let (Some(bias), Kind::Linear { .. }) = (&self.position_bias, self.kind) {
            return Err(bias.refuse_linear());
        }
        let head_dim = self.width / self.heads;
        let key_dim = match self.kind {
            Kind::Linear { feature_map, stage: Stage::AfterFeatureMap, .. } => {
                feature_map.feature_dim(head_dim)
            }
            _ => head_dim,
        };
        let place = Place { key_dim, heads: self.heads, layer: self.layer };
        let (encoding, bias) = (self.encoding.clone(), self.position_bias.clone());
        Ok(RelativeConfig { encoding, bias, place })
    }

    fn init_around(&self, position: Relative, device: &Device) -> Attention {
        let linear = || LinearConfig::new(self.width, self.width).with_bias(self.bias).init(device);
        let head_dim = self.width / self.heads;
        let feature_map = match self.kind {
            Kind::Linear { feature_map, stage, .. } => {
                feature_map.bind(stage.mapped_dim(head_dim, &**position.encoding()))
            }
            Kind::Softmax => FeatureMap::Identity.bind(head_dim),
        };
        let norm = |kind| NormConfig { kind, width: self.width, eps: self.norm_eps }.init(device);
        Attention {
            q_proj: linear(),
            k_proj: linear(),
            v_proj: linear(),
            position,
            norm: self.output_norm.map(norm),
            o_proj: linear(),
            heads: self.heads,
            head_dim,
            kind: self.kind,
            feature_map,
        }
    }
}

/// Projections, encoding, attention, output norm, output projection.
#[derive(Module, Debug)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    position: Relative,
    norm: Option<Norm>,
    o_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    head_dim: usize,
    #[module(skip)]
    kind: Kind,
    #[module(skip)]
    feature_map: BoundFeatureMap<f32>,
}

impl Attention {
    /// Self-attention over the sequences of `mask`.
    ///
    /// # Shapes
    /// `[B, T, D]` to `[B, T, D]`
    ///
    /// # Panics
    /// With softmax attention, if a sequence reaches from one row of the batch into the next: its encoding takes the
    /// position from the row.
    pub fn forward(&self, x: Tensor<3>, mask: OwnedMask) -> Tensor<3> {
        self.forward_normed(None, x, mask, None)
    }

    /// `forward(norm(x))`, plus `residual` if there is one.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_normed(
        &self,
        norm: Option<&Norm>,
        x: Tensor<3>,
        mask: OwnedMask,
        residual: Option<Tensor<3>>,
    ) -> Tensor<3> {
        let out = match self.kind {
            Kind::Linear { .. } => {
                let parameters = self.position.parameters(&x.device());
                let layers = [&self.q_proj, &self.k_proj, &self.v_proj].map(linear_parameters);
                let norm = norm.map(Norm::parameters);
                ops::linear_self_attention(&self.linear(), mask, x, norm, layers, parameters)
            }
            Kind::Softmax => {
                let x = match norm {
                    Some(norm) => norm.forward(x),
                    None => x,
                };
                self.softmax_forward(x, mask)
            }
        };
        self.finish(out, residual)
    }

    fn softmax_forward(&self, x: Tensor<3>, mask: OwnedMask) -> Tensor<3> {
        let shape = x.dims();
        let segments = mask.as_mask().queries();
        let in_one_row = |s: &Segment| s.len == 0 || s.start / shape[1] == (s.start + s.len - 1) / shape[1];
        assert!(segments.iter().all(in_one_row), "a sequence reaches across rows of {} tokens", shape[1]);
        let offset = segments.first().map_or(0, |segment| segment.offset);
        let parameters = self.position.bias_parameters(&x.device());
        let [q, k, v] = self.project(x);
        let q = self.position.forward(Side::Query, offset, q);
        let k = self.position.forward(Side::Key, offset, k);
        ops::softmax_attention(self.softmax(), mask, [q, k, v], parameters).reshape(shape)
    }

    /// [`forward`](Self::forward) that continues from a state; linear attention only.
    ///
    /// # Panics
    /// If the attention is softmax.
    pub fn forward_with_state(
        &self,
        x: Tensor<3>,
        mask: OwnedMask,
        state: AttentionState,
    ) -> (Tensor<3>, AttentionState) {
        let shape = x.dims();
        let qkv = self.project(x);
        let parameters = self.position.parameters(&qkv[0].device());
        let (out, state) = ops::linear_attention_with_state(&self.linear(), mask, qkv, parameters, state);
        (self.finish(out.reshape(shape), None), state)
    }

    /// Queries, keys and values, `[B, T, H, K]` each.
    pub fn project(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [batch, time, width] = x.dims();
        let heads = [batch, time, self.heads, width / self.heads];
        [&self.q_proj, &self.k_proj, &self.v_proj]
            .map(|layer| ops::linear(x.clone(), None, linear_parameters(layer), None).reshape(heads))
    }

    /// How many of the encoded denominators of these inputs do not reach ε, so that ε divides in their stead, and how many
    /// there are; 0 of 0 if the denominator is another, or the attention softmax.
    pub fn clamped(&self, x: Tensor<3>, mask: &OwnedMask) -> [usize; 2] {
        let Kind::Linear { normalizer: Normalizer::Encoded, eps, .. } = self.kind else { return [0, 0] };
        let parameters = self.position.parameters(&x.device());
        let [q, k, _] = self.project(x);
        let [batch, time, heads, _] = q.dims();
        // Undivided sums over values of 1 are the denominators.
        let sums = LinearAttention { normalizer: Normalizer::None, value_dim: 1, ..self.linear() };
        let ones = Tensor::ones([batch, time, heads, 1], &q.device());
        let sums = ops::to_vec(ops::linear_attention(&sums, mask.clone(), [q, k, ones], parameters));
        let seen = mask.as_mask().queries().iter().map(|s| &sums[s.start * heads..][..s.len * heads]);
        seen.fold([0, 0], |[clamped, all], sums| {
            let below = sums.iter().filter(|sum| f64::from(**sum) <= eps).count();
            [clamped + below, all + sums.len()]
        })
    }

    /// Output norm and projection of the joined heads, plus `residual` if there is one.
    pub fn finish(&self, out: Tensor<3>, residual: Option<Tensor<3>>) -> Tensor<3> {
        let norm = self.norm.as_ref().map(Norm::parameters);
        ops::linear(out, norm, linear_parameters(&self.o_proj), residual)
    }

    /// Linear or softmax.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same with the model's parameters of the encoding, and with the noise and the random features of a step.
    pub fn prepared(&self, shared: Option<Tensor<1>>, step: u64) -> Self {
        let mut prepared = self.clone();
        if let Some(shared) = shared {
            prepared.position = prepared.position.with_shared(shared);
        }
        if let Some(position) = prepared.position.redrawn(step) {
            prepared.position = position;
        }
        prepared.feature_map = self.map_at(step).unwrap_or_else(|| self.feature_map.clone());
        prepared
    }

    /// Whether steps differ in their noise or random features.
    pub fn changes_with_steps(&self) -> bool {
        let redraws = |map: FeatureMap| matches!(map, FeatureMap::Random(random) if random.redraw_every > 0);
        self.position.encoding().redrawn(1).is_some() || redraws(self.feature_map.map())
    }

    fn map_at(&self, step: u64) -> Option<BoundFeatureMap<f32>> {
        let (now, then) = (self.feature_map.map(), self.feature_map.map().at_step(step));
        (now != then).then(|| then.bind(self.feature_map.width()))
    }

    /// The relative encoding.
    pub fn position(&self) -> &Relative {
        &self.position
    }

    /// The kernel behind linear attention.
    ///
    /// # Panics
    /// If the attention is softmax.
    pub fn linear(&self) -> LinearAttention<f32> {
        let Kind::Linear { stage, normalizer, eps, chunk, .. } = self.kind else {
            panic!("softmax attention has no state of constant size");
        };
        let encoding = self.position.encoding().clone();
        let (feature_map, heads, value_dim) = (self.feature_map.clone(), self.heads, self.head_dim);
        LinearAttention { feature_map, encoding, stage, normalizer, eps, heads, value_dim, chunk }
    }

    /// The kernel behind softmax attention; keys and queries come encoded.
    pub fn softmax(&self) -> SoftmaxAttention<f32> {
        let kernel = SoftmaxAttention::encoded(&**self.position.encoding(), self.heads, self.head_dim);
        match self.position.bias() {
            Some(bias) => kernel.with_bias(bias.clone()),
            None => kernel,
        }
    }
}
