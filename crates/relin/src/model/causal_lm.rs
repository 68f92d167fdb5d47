//! A causal language model: a trunk, and an output projection.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::dense;

use super::initialize::initialize;
use super::network::{Network, TokenModel};
use super::pass::Sight;
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::Batch;
use crate::nn::{Attention, Embedding, EmbeddingConfig};
use crate::ops::{self, OwnedMask};
use crate::recipe::ModelConfig;

/// A causal language model.
#[derive(Module, Debug)]
pub struct CausalLm {
    model: Trunk,
    /// `None` if tied to the embeddings.
    lm_head: Option<Embedding>,
}

impl CausalLm {
    /// Builds and initialises a model; every weight is a pure function of the seed and its own name.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let (count, width) = (config.vocab_size.ok_or(ModelError::NoVocabulary)?, config.hidden_size);
        let trunk = Trunk::new(config, device)?.with_tokens(count, width, device);
        let lm_head = (!config.tie_word_embeddings).then(|| EmbeddingConfig { count, width }.init(device));
        Ok(initialize(Self { model: trunk, lm_head }, config, seed))
    }

    /// The hidden states after the final norm.
    ///
    /// # Shapes
    /// `B·T` token ids to `[B, T, D]`
    pub fn hidden(&self, ids: Vec<u32>, shape: [usize; 2], offset: i64) -> Tensor<3> {
        self.model.hidden(self.model.embed(ids, shape, offset), &causal(shape, offset))
    }

    /// The logits of every position.
    ///
    /// # Shapes
    /// `B·T` token ids to `[B·T, vocab]`
    pub fn logits(&self, ids: Vec<u32>, shape: [usize; 2], offset: i64) -> Tensor<2> {
        self.project(self.hidden(ids, shape, offset))
    }

    /// Logits of hidden states that came through the final norm.
    pub fn project(&self, hidden: Tensor<3>) -> Tensor<2> {
        project(hidden, self.head())
    }

    /// The embeddings of a batch, and which of its tokens see which.
    fn read(&self, batch: &Batch) -> (Tensor<3>, OwnedMask) {
        let shape = [batch.rows, batch.length];
        match &batch.segments {
            None => (self.model.embed(batch.inputs.clone(), shape, 0), causal(shape, 0)),
            Some(segments) => {
                let embedded = self.model.embed_segments(batch.inputs.clone(), shape, segments);
                (embedded, OwnedMask::Causal(segments.clone()))
            }
        }
    }

    fn head(&self) -> &Embedding {
        self.lm_head.as_ref().or(self.model.embed_tokens.as_ref()).expect("tokens are embedded")
    }

    pub(super) fn finish(&self, x: Tensor<3>) -> Tensor<2> {
        self.project(self.model.finish(x))
    }

    /// What lies below the output projection.
    pub(super) fn trunk(&self) -> &Trunk {
        &self.model
    }

    /// The attention of each layer, as evaluation uses it.
    pub fn attentions(&self) -> impl ExactSizeIterator<Item = Attention> {
        self.model.attentions()
    }
}

impl Network for CausalLm {
    type Batch = Batch;

    const KIND: (&'static str, &'static str) = ("relin-causal-lm", "CausalLm");

    fn loss(&self, batch: &Batch, options: LossOptions) -> Loss {
        let (embedded, mask) = self.read(batch);
        self.model.loss(embedded, &mask, options, |hidden| cross_entropy(hidden, self.head(), batch))
    }

    fn first_not_finite(&self, batch: &Batch) -> Option<String> {
        let (embedded, mask) = self.read(batch);
        let inside = self.model.first_not_finite(embedded, &mask);
        inside.or_else(|| (!is_finite(&self.scores(batch).unsqueeze())).then(|| "lm_head".into()))
    }

    fn clamped(&self, batch: &Batch) -> [usize; 2] {
        let (embedded, mask) = self.read(batch);
        self.model.clamped(embedded, Sight { mask: &mask, source: None, step: 0 })
    }

    fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        self.model.encoding_parameters()
    }
}

impl TokenModel for CausalLm {
    fn build(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::new(config, seed, device)
    }

    fn scores(&self, batch: &Batch) -> Tensor<2> {
        let (embedded, mask) = self.read(batch);
        self.project(self.model.hidden(embedded, &mask))
    }

    fn max_positions(&self) -> Option<usize> {
        self.model.max_positions()
    }
}

/// Logits of hidden states that came through the final norm, `[B, T, D]` to `[B·T, vocab]`.
pub(super) fn project(hidden: Tensor<3>, head: &Embedding) -> Tensor<2> {
    flat(hidden).matmul(head.weight.val().transpose())
}

/// Mean loss of a batch's targets.
pub(super) fn cross_entropy(hidden: Tensor<3>, head: &Embedding, batch: &Batch) -> Tensor<1> {
    ops::cross_entropy(flat(hidden), head.weight.val(), batch.targets.clone())
}

fn flat(hidden: Tensor<3>) -> Tensor<2> {
    let [rows, time, width] = hidden.dims();
    hidden.reshape([rows * time, width])
}

/// `B` sequences of `T` tokens, end to end.
fn causal([batch, time]: [usize; 2], offset: i64) -> OwnedMask {
    OwnedMask::Causal(dense(batch, time, offset))
}
