//! `[model]`: the network. Keys are spelled as Hugging Face spells them where it has them.

use serde::{Deserialize, Serialize};

pub use relin_kernels::activation::Activation;
pub use relin_kernels::encoding::Stage;
pub use relin_kernels::feature_map::FeatureMap;
pub use relin_kernels::linear_attention::Normalizer;
pub use relin_kernels::norm::NormKind as Norm;

use super::{CrossPosition, Position};

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// D.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// H; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part; 4·`hidden_size` if not given.
    pub intermediate_size: Option<usize>,
    /// Number of tokens; taken from the tokenizer if not given.
    pub vocab_size: Option<usize>,
    /// Names of the classes of a classifier; taken from the data if not given.
    pub labels: Option<Vec<String>>,
    /// Mean and standard deviation of the numbers that a regression is trained on; taken from the data.
    pub target: Option<Standard>,
    /// How a classifier makes one vector of the hidden states of a sequence.
    pub pooling: Pooling,
    /// How a classifier reads two texts.
    pub pair: Pair,
    /// Pixels along a side of a patch, for models of images.
    pub patch_size: Option<usize>,
    /// Pixels that a patch reads beyond its own on every side, so that patches overlap; 0 beyond the image.
    pub patch_margin: usize,
    /// Lengths of the n-grams whose embeddings are added to those of the tokens that they end with, in a classifier of tokens.
    pub ngrams: Vec<usize>,
    /// Rows of the table of n-grams, which a hash chooses.
    pub ngram_buckets: usize,
    /// Widths of the stages of a convolutional stem before the blocks of a classifier. Each stage joins two neighbouring tokens
    /// of a text, or four pixels of an image, so that n stages make patches of 2ⁿ; none if empty.
    pub stem: Vec<usize>,
    /// How a model of images takes them.
    pub pixels: Pixels,
    /// 1 for grey images, 3 for coloured ones; taken from the data.
    pub num_channels: Option<usize>,
    /// Mean of each channel, 0 … 255 as 0 … 1; taken from the data by `data.normalize`.
    pub image_mean: Option<Vec<f64>>,
    /// Standard deviation of each channel.
    pub image_std: Option<Vec<f64>>,
    /// Longest sequence that learned absolute positions know; the context if not given.
    pub max_position_embeddings: Option<usize>,
    /// Output projection = input embedding.
    pub tie_word_embeddings: bool,
    /// Activation of the feed-forward part.
    pub hidden_act: Activation,
    /// Shape of the feed-forward part.
    pub mlp: Mlp,
    /// Norm of the residual stream.
    pub norm: Norm,
    /// Added to the variance under the root.
    pub norm_eps: f64,
    /// O(T) or O(T²).
    pub attention: AttentionKind,
    /// φ.
    pub feature_map: FeatureMap,
    /// The denominator of linear attention.
    pub normalizer: Normalizer,
    /// ε of the denominator: added to a `plain` one, the least value of an `encoded` one.
    pub normalizer_eps: f64,
    /// Norm of the heads' joined output; if not given, `layer` for linear attention without denominator, else `none`.
    pub output_norm: Option<OutputNorm>,
    /// The relative encoding.
    pub position: Position,
    /// Whether the relative encoding acts on q and k or on their features; where it belongs if not given.
    pub position_stage: Option<Stage>,
    /// The relative encoding between a target and its source, both of whose positions count from 0: a target's token t and
    /// a source's token t have lag 0. `same` is that of `position`, and the default: most tasks align the two in order or in
    /// reverse, which a lag expresses, and `none` leaves to the encoder to say where each token stands.
    pub cross_position: CrossPosition,
    /// Absolute positions added to the embeddings, beside any relative encoding.
    pub absolute: Absolute,
    /// Chunk length of the training form of linear attention.
    pub attention_chunk: usize,
    /// Biases in the linear layers.
    pub bias: bool,
    /// Standard deviation of the initial weights; `hidden_size^(−1/2)` if not given, of which projections into the residual stream
    /// have the `√(2L)`-th part.
    pub initializer_range: Option<f64>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            intermediate_size: None,
            vocab_size: None,
            labels: None,
            target: None,
            pooling: Pooling::Mean,
            pair: Pair::Joined,
            patch_size: None,
            patch_margin: 0,
            ngrams: Vec::new(),
            ngram_buckets: 32_768,
            stem: Vec::new(),
            pixels: Pixels::Patches,
            num_channels: None,
            image_mean: None,
            image_std: None,
            max_position_embeddings: None,
            tie_word_embeddings: true,
            hidden_act: Activation::Gelu,
            mlp: Mlp::Plain,
            norm: Norm::Layer,
            norm_eps: 1e-5,
            attention: AttentionKind::Linear,
            feature_map: FeatureMap::Elu1,
            normalizer: Normalizer::None,
            normalizer_eps: 1e-6,
            output_norm: None,
            position: Position::Preset("lrpe-unitary".into()),
            position_stage: None,
            cross_position: CrossPosition::Same,
            absolute: Absolute::None,
            attention_chunk: 64,
            bias: true,
            initializer_range: None,
        }
    }
}

impl ModelConfig {
    /// K = V: width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }

    /// Numbers of one patch of an image.
    pub fn patch_dim(&self) -> Option<usize> {
        let read = |side: usize| side + 2 * self.patch_margin;
        self.patch_size.map(|side| read(side).pow(2) * self.num_channels.unwrap_or(1))
    }

    /// Width of a token's embedding: that of the stem's first stage, if there is a stem.
    pub fn embedding_width(&self) -> usize {
        self.stem.first().copied().unwrap_or(self.hidden_size)
    }

    /// Width of the feed-forward part.
    pub fn intermediate_size(&self) -> usize {
        self.intermediate_size.unwrap_or(self.hidden_size.saturating_mul(4))
    }

    /// Standard deviation of the initial weights: what keeps a projection of D features with variance 1 at variance 1.
    pub fn initializer_range(&self) -> f64 {
        self.initializer_range.unwrap_or_else(|| (self.hidden_size as f64).powf(-0.5))
    }

    /// Norm of the heads' joined output.
    pub fn output_norm(&self) -> OutputNorm {
        let unbounded = self.attention == AttentionKind::Linear && self.normalizer == Normalizer::None;
        self.output_norm.unwrap_or(if unbounded { OutputNorm::Layer } else { OutputNorm::None })
    }

    /// Absolute positions, whether stated by `absolute` or by the preset of `position`.
    pub fn absolute(&self) -> Absolute {
        self.position.absolute().unwrap_or(self.absolute)
    }

    /// Whether the relative encoding acts on q and k or on their features.
    pub fn position_stage(&self) -> Stage {
        self.stage_of(&self.position)
    }

    /// Whether a relative encoding acts on q and k or on their features.
    pub fn stage_of(&self, position: &Position) -> Stage {
        match self.attention {
            AttentionKind::Softmax => Stage::BeforeFeatureMap,
            AttentionKind::Linear => {
                self.position_stage.unwrap_or_else(|| position.encoding().stage(self.feature_map))
            }
        }
    }

    /// The relative encoding between a target and its source.
    pub fn cross_position(&self) -> &Position {
        match &self.cross_position {
            CrossPosition::Same => &self.position,
            CrossPosition::Own(position) => position,
        }
    }

    /// K of the encoding: the width of the rows it takes.
    pub fn position_dim(&self) -> usize {
        match self.position_stage() {
            Stage::BeforeFeatureMap => self.head_dim(),
            Stage::AfterFeatureMap => self.feature_map.feature_dim(self.head_dim()),
        }
    }

    /// Fills what follows from other values.
    pub(super) fn resolve(&mut self, context: usize) {
        self.intermediate_size = Some(self.intermediate_size());
        self.output_norm = Some(self.output_norm());
        self.initializer_range = Some(self.initializer_range());
        self.max_position_embeddings.get_or_insert(context + self.pooling.tokens());
    }
}

/// Numbers as a network predicts them: `(x − mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standard {
    /// Of the numbers that are trained on.
    pub mean: f64,
    /// Above 0.
    pub deviation: f64,
}

/// How a classifier makes one vector of the hidden states of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of a learned vector put before the sequence.
    Cls,
}

impl Pooling {
    /// Tokens that it puts before a sequence.
    pub fn tokens(self) -> usize {
        usize::from(self == Self::Cls)
    }
}

/// How a classifier reads two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pair {
    /// As one sequence, with a separator between them.
    Joined,
    /// Each by itself, by the same trunk.
    TwoTower,
}

/// How a model of images takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pixels {
    /// In patches, projected.
    Patches,
    /// Grey values one by one, row by row, from a table of embeddings.
    Tokens,
}

/// Shape of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mlp {
    /// `W₂ act(W₁ x)`.
    Plain,
    /// `W₂ (act(W₁ x) ∘ W₃ x)`.
    Gated,
}

/// O(T) or O(T²).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionKind {
    /// `φ(q)·φ(k)`, O(T).
    Linear,
    /// `exp(q·k)`, O(T²).
    Softmax,
}

/// Norm of the heads' joined output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputNorm {
    /// None.
    None,
    /// Mean and variance.
    Layer,
    /// Root mean square.
    Rms,
}

/// Absolute positions added to the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absolute {
    /// None.
    None,
    /// Fixed sines and cosines.
    Sinusoidal,
    /// One learned vector a position.
    Learned,
}
