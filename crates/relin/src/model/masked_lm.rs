//! A masked language model: a trunk that sees whole sequences, and an output projection.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::dense;

use super::causal_lm::{cross_entropy, project};
use super::initialize::initialize;
use super::network::{Network, TokenModel};
use super::pass::Sight;
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::Batch;
use crate::nn::{Embedding, EmbeddingConfig};
use crate::ops::OwnedMask;
use crate::recipe::ModelConfig;

/// A model that says what each token is, or was before it was masked, from all others (BERT, arXiv 1810.04805).
#[derive(Module, Debug)]
pub struct MaskedLm {
    model: Trunk,
    /// `None` if tied to the embeddings.
    lm_head: Option<Embedding>,
}

impl MaskedLm {
    /// Builds and initialises a model; every weight is a pure function of the seed and its own name.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let (count, width) = (config.vocab_size.ok_or(ModelError::NoVocabulary)?, config.hidden_size);
        let model = Trunk::new(config, device)?.with_tokens(count, width, device);
        let lm_head = (!config.tie_word_embeddings).then(|| EmbeddingConfig { count, width }.init(device));
        Ok(initialize(Self { model, lm_head }, config, seed))
    }

    /// The logits of every position.
    ///
    /// # Shapes
    /// `B·T` token ids to `[B·T, vocab]`
    pub fn logits(&self, ids: Vec<u32>, shape: [usize; 2]) -> Tensor<2> {
        project(self.model.hidden(self.model.embed(ids, shape, 0), &whole(shape)), self.head())
    }

    fn head(&self) -> &Embedding {
        self.lm_head.as_ref().or(self.model.embed_tokens.as_ref()).expect("tokens are embedded")
    }
}

impl Network for MaskedLm {
    type Batch = Batch;

    const KIND: (&'static str, &'static str) = ("relin-masked-lm", "MaskedLm");

    fn loss(&self, batch: &Batch, options: LossOptions) -> Loss {
        let shape = [batch.rows, batch.length];
        let embedded = self.model.embed(batch.inputs.clone(), shape, 0);
        self.model.loss(embedded, &whole(shape), options, |hidden| cross_entropy(hidden, self.head(), batch))
    }

    fn first_not_finite(&self, batch: &Batch) -> Option<String> {
        let shape = [batch.rows, batch.length];
        let embedded = self.model.embed(batch.inputs.clone(), shape, 0);
        let inside = self.model.first_not_finite(embedded, &whole(shape));
        inside.or_else(|| (!is_finite(&self.scores(batch).unsqueeze())).then(|| "lm_head".into()))
    }

    fn clamped(&self, batch: &Batch) -> [usize; 2] {
        let shape = [batch.rows, batch.length];
        let embedded = self.model.embed(batch.inputs.clone(), shape, 0);
        self.model.clamped(embedded, Sight { mask: &whole(shape), source: None, step: 0 })
    }

    fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        self.model.encoding_parameters()
    }
}

impl TokenModel for MaskedLm {
    fn build(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::new(config, seed, device)
    }

    fn scores(&self, batch: &Batch) -> Tensor<2> {
        self.logits(batch.inputs.clone(), [batch.rows, batch.length])
    }

    fn max_positions(&self) -> Option<usize> {
        self.model.max_positions()
    }
}

/// `B` sequences of `T` tokens, end to end, each of which sees all of its own.
fn whole([rows, length]: [usize; 2]) -> OwnedMask {
    let segments = dense(rows, length, 0);
    OwnedMask::Full { queries: segments.clone(), keys: segments }
}
