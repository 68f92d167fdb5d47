//! Linear attention alone, for models with projections of their own.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::{EncodingConfig, EncodingError, Place, Stage};
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{self as kernel, Normalizer};

use super::{Relative, RelativeConfig};
use crate::ops::{self, AttentionState, OwnedMask};

/// Configuration of [`LinearAttention`].
#[derive(Clone, Debug)]
pub struct LinearAttentionConfig {
    /// `K`, the width of a head's queries and keys.
    pub key_dim: usize,
    /// `V`, the width of a head's values.
    pub value_dim: usize,
    /// `H`.
    pub heads: usize,
    /// Index of the layer; layers draw different reflections and permutations.
    pub layer: usize,
    /// φ.
    pub feature_map: FeatureMap,
    /// The relative encoding.
    pub encoding: EncodingConfig,
    /// Whether it acts before or after φ; `None` is where it belongs.
    pub stage: Option<Stage>,
    /// The denominator.
    pub normalizer: Normalizer,
    /// ε of the denominator.
    pub eps: f64,
    /// `C`, the tokens treated at once.
    pub chunk: usize,
}

impl LinearAttentionConfig {
    /// φ = 1 + elu, no denominator (normalise the output), chunks of 64 tokens.
    pub fn new(key_dim: usize, heads: usize, encoding: EncodingConfig) -> Self {
        Self {
            key_dim,
            value_dim: key_dim,
            heads,
            layer: 0,
            feature_map: FeatureMap::Elu1,
            encoding,
            stage: None,
            normalizer: Normalizer::None,
            eps: 1e-6,
            chunk: 64,
        }
    }

    /// Builds the module.
    ///
    /// # Errors
    /// If the encoding contradicts itself or the head size.
    pub fn init(&self, device: &Device) -> Result<LinearAttention, EncodingError> {
        let stage = self.stage.unwrap_or_else(|| self.encoding.stage(self.feature_map));
        let key_dim = match stage {
            Stage::BeforeFeatureMap => self.key_dim,
            Stage::AfterFeatureMap => self.feature_map.feature_dim(self.key_dim),
        };
        let place = Place { key_dim, heads: self.heads, layer: self.layer };
        let position = RelativeConfig { encoding: self.encoding.clone(), bias: None, place }.init(device)?;
        let kernel = kernel::LinearAttention {
            feature_map: self.feature_map.bind(stage.mapped_dim(self.key_dim, &**position.encoding())),
            encoding: position.encoding().clone(),
            stage,
            normalizer: self.normalizer,
            eps: self.eps,
            heads: self.heads,
            value_dim: self.value_dim,
            chunk: self.chunk,
        };
        Ok(LinearAttention { position, kernel })
    }
}

/// `o_s = Σ_t (M_s φ(q_s)) · (M_t φ(k_t)) v_t / d_s`; see [`relin_kernels::linear_attention`].
#[derive(Module, Debug)]
pub struct LinearAttention {
    position: Relative,
    #[module(skip)]
    kernel: kernel::LinearAttention<f32>,
}

impl LinearAttention {
    /// # Shapes
    /// - `q`: `[B, T, H, K]`; `k`: `[B, T', H, K]`; `v`: `[B, T', H, V]`; result: `[B, T, H, V]`
    pub fn forward(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: OwnedMask) -> Tensor<4> {
        let parameters = self.position.parameters(&q.device());
        ops::linear_attention(&self.kernel, mask, [q, k, v], parameters)
    }

    /// [`forward`](Self::forward) that continues from a state and returns the next.
    pub fn forward_with_state(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        mask: OwnedMask,
        state: AttentionState,
    ) -> (Tensor<4>, AttentionState) {
        let parameters = self.position.parameters(&q.device());
        ops::linear_attention_with_state(&self.kernel, mask, [q, k, v], parameters, state)
    }

    /// A zero state for `batch` sequences.
    pub fn zero_state(&self, batch: usize, device: &Device) -> AttentionState {
        let (heads, value_dim) = (self.kernel.heads, self.kernel.value_dim);
        AttentionState {
            s: Tensor::zeros([batch, heads, self.kernel.encoded_dim(), value_dim], device),
            z: Tensor::zeros([batch, heads, self.kernel.normalizer_dim()], device),
        }
    }
}
