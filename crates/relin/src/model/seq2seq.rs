//! An encoder-decoder: a trunk that sees whole sources, and one that writes targets and looks at what became of the source.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use relin_kernels::encoding::Parameter;
use relin_kernels::segments::Segment;

use super::block::Source;
use super::dropper::Dropper;
use super::initialize::initialize;
use super::network::Network;
use super::pass::{Sight, Unwinding};
use super::trunk::{Loss, LossOptions, ModelError, Trunk, is_finite};
use crate::data::{Padded, ParallelBatch};
use crate::nn::{Attention, Embedding, EmbeddingConfig};
use crate::ops::{self, OwnedMask};
use crate::recipe::ModelConfig;

/// An encoder-decoder whose two sides share one table of embeddings.
///
/// The encoder's blocks see the whole source. The decoder's see what is already written of the target, and in
/// a second attention the encoder's output: queries at the target's positions, keys and values at the source's.
#[derive(Module, Debug)]
pub struct Seq2Seq {
    shared: Embedding,
    encoder: Trunk,
    decoder: Trunk,
    /// `None` if tied to the embeddings.
    lm_head: Option<Embedding>,
}

impl Seq2Seq {
    /// Builds and initialises a model with `num_hidden_layers` blocks on either side; every weight is a pure function of
    /// the seed and its own name.
    ///
    /// # Errors
    /// If the configuration does not fit together.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let (count, width) = (config.vocab_size.ok_or(ModelError::NoVocabulary)?, config.hidden_size);
        let (layers, table) = (config.num_hidden_layers, EmbeddingConfig { count, width });
        let decoder = Trunk::from_layer(layers, config, device)?.with_source(2 * layers, config, device)?;
        let model = Self {
            shared: table.init(device),
            encoder: Trunk::new(config, device)?,
            decoder,
            lm_head: (!config.tie_word_embeddings).then(|| table.init(device)),
        };
        Ok(initialize(model, config, seed))
    }

    /// What the encoder makes of sources.
    ///
    /// # Shapes
    /// B sources to `[B, T', D]`; padding is whatever it is
    pub fn encode(&self, sources: &Padded) -> Tensor<3> {
        self.encoder.hidden(self.embed(&self.encoder, sources, 0), &whole(sources))
    }

    /// The logits of every position of the targets.
    ///
    /// # Shapes
    /// B sources and targets to `[B·T, vocab]`; padding is whatever it is
    pub fn logits(&self, sources: &Padded, inputs: &Padded) -> Tensor<2> {
        let source = Source { hidden: self.encode(sources), mask: beside(sources, inputs) };
        let mask = causal(inputs);
        let sight = Sight { mask: &mask, source: Some(&source), step: 0 };
        self.project(self.decoder.run(self.embed(&self.decoder, inputs, 0), sight, &mut Dropper::none()))
    }

    /// Longest source or target, marks included; `None` if there is no limit.
    pub fn max_positions(&self) -> Option<usize> {
        self.decoder.max_positions()
    }

    /// Number of tokens, marks included.
    pub fn vocabulary(&self) -> usize {
        self.shared.weight.dims()[0]
    }

    /// The decoder's attention to its own sequence in each layer, as generation uses it.
    pub fn attentions(&self) -> impl ExactSizeIterator<Item = Attention> {
        self.decoder.attentions()
    }

    /// The decoder's attention to the source in each layer, as generation uses it.
    pub fn cross_attentions(&self) -> impl Iterator<Item = Attention> {
        self.decoder.cross_attentions()
    }

    pub(super) fn decoder(&self) -> &Trunk {
        &self.decoder
    }

    /// One token of a target at its position.
    pub(super) fn embed_token(&self, token: u32, position: usize) -> Tensor<3> {
        self.decoder.add_positions(self.shared.forward(vec![token], [1, 1]), position as i64)
    }

    pub(super) fn finish(&self, x: Tensor<3>) -> Tensor<2> {
        self.project(self.decoder.finish(x))
    }

    fn embed(&self, side: &Trunk, tokens: &Padded, offset: i64) -> Tensor<3> {
        let shape = [tokens.lengths.len(), tokens.length];
        side.add_positions(self.shared.forward(tokens.ids.clone(), shape), offset)
    }

    /// [`embed`](Self::embed) of both sides of a batch by one node of the graph: the gradient of the table is then a sum of two,
    /// that node's and the output projection's, in which no order can make a difference.
    fn embed_both(&self, ParallelBatch { sources, inputs, .. }: &ParallelBatch) -> [Tensor<3>; 2] {
        let both = self
            .shared
            .forward([&*sources.ids, &*inputs.ids].concat(), [1, sources.ids.len() + inputs.ids.len()]);
        let [_, _, width] = both.dims();
        let sides = [(&self.encoder, sources, 0), (&self.decoder, inputs, sources.ids.len())];
        sides.map(|(side, tokens, first)| {
            let own = both.clone().narrow(1, first, tokens.ids.len());
            side.add_positions(own.reshape([tokens.lengths.len(), tokens.length, width]), 0)
        })
    }

    fn project(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch, time, width] = hidden.dims();
        hidden.reshape([batch * time, width]).matmul(self.head().weight.val().transpose())
    }

    fn head(&self) -> &Embedding {
        self.lm_head.as_ref().unwrap_or(&self.shared)
    }

    fn cross_entropy(&self, hidden: Tensor<3>, targets: &[u32]) -> Tensor<1> {
        let [rows, time, width] = hidden.dims();
        ops::cross_entropy(hidden.reshape([rows * time, width]), self.head().weight.val(), targets.to_vec())
    }

    /// Keeps only the inputs of the blocks of both sides, and goes back through the decoder, then the encoder.
    fn loss_with_checkpoints(&self, batch: &ParallelBatch, options: LossOptions) -> Loss {
        let ParallelBatch { sources, inputs, targets } = batch;
        let (over, own, step) = (whole(sources), causal(inputs), options.step);
        let mut dropper = Dropper::new(options, self.encoder.layers.len() + self.decoder.layers.len());
        let [read, written] = self.embed_both(batch);
        let read = dropper.apply(read);
        let reading = Sight { mask: &over, source: None, step };
        let encoded = self.encoder.keep(read.clone(), reading, &mut dropper);
        let hidden = self.encoder.valid().finish(encoded.last.clone());
        let source = Source { hidden, mask: beside(sources, inputs) };
        let written = dropper.apply(written);
        let writing = Sight { mask: &own, source: Some(&source), step };
        let decoded = self.decoder.keep(written.clone(), writing, &mut dropper);

        let (loss, flowing) = self.decoder.above(&decoded, |hidden| self.cross_entropy(hidden, targets));
        let mut unwinding = Unwinding { flowing, source: None, gradients: loss.gradients };
        self.decoder.unwind(decoded, writing, &mut unwinding);
        let into_decoder = unwinding.flowing;
        unwinding.flowing = unwinding.source.take().expect("every block of the decoder looks at the source");
        self.encoder.unwind_norm(&encoded, &mut unwinding);
        self.encoder.unwind(encoded, reading, &mut unwinding);
        unwinding.through([(written, into_decoder), (read, unwinding.flowing.clone())]);
        Loss { value: loss.value, gradients: unwinding.gradients }
    }
}

/// Every token of a source sees all others of it.
fn whole(sources: &Padded) -> OwnedMask {
    OwnedMask::Full { queries: segments(sources), keys: segments(sources) }
}

/// Every token of a target sees itself and those before it.
fn causal(inputs: &Padded) -> OwnedMask {
    OwnedMask::Causal(segments(inputs))
}

/// Every token of a target sees all of its source.
fn beside(sources: &Padded, inputs: &Padded) -> OwnedMask {
    OwnedMask::Full { queries: segments(inputs), keys: segments(sources) }
}

fn segments(tokens: &Padded) -> Vec<Segment> {
    let segment = |(row, &len): (usize, &usize)| Segment { start: row * tokens.length, len, offset: 0 };
    tokens.lengths.iter().enumerate().map(segment).collect()
}

impl Network for Seq2Seq {
    type Batch = ParallelBatch;

    const KIND: (&'static str, &'static str) = ("relin-seq2seq", "Seq2Seq");

    fn loss(&self, batch: &ParallelBatch, options: LossOptions) -> Loss {
        if options.checkpointing {
            return self.loss_with_checkpoints(batch, options);
        }
        let ParallelBatch { sources, inputs, targets } = batch;
        let (over, own, step) = (whole(sources), causal(inputs), options.step);
        let mut dropper = Dropper::new(options, self.encoder.layers.len() + self.decoder.layers.len());
        let [read, written] = self.embed_both(batch);
        let read = dropper.apply(read);
        let hidden = self.encoder.run(read, Sight { mask: &over, source: None, step }, &mut dropper);
        let source = Source { hidden, mask: beside(sources, inputs) };
        let written = dropper.apply(written);
        let sight = Sight { mask: &own, source: Some(&source), step };
        let hidden = self.decoder.run(written, sight, &mut dropper);
        Loss::of(self.cross_entropy(hidden, targets))
    }

    fn first_not_finite(&self, batch: &ParallelBatch) -> Option<String> {
        let ParallelBatch { sources, inputs, .. } = batch;
        let (over, own) = (whole(sources), causal(inputs));
        let read = self.embed(&self.encoder, sources, 0);
        let reading = Sight { mask: &over, source: None, step: 0 };
        let in_encoder = self.encoder.first_not_finite_in("encoder", read, reading);
        in_encoder
            .or_else(|| {
                let source = Source { hidden: self.encode(sources), mask: beside(sources, inputs) };
                let writing = Sight { mask: &own, source: Some(&source), step: 0 };
                self.decoder.first_not_finite_in("decoder", self.embed(&self.decoder, inputs, 0), writing)
            })
            .or_else(|| (!is_finite(&self.logits(sources, inputs).unsqueeze())).then(|| "lm_head".into()))
    }

    fn clamped(&self, ParallelBatch { sources, inputs, .. }: &ParallelBatch) -> [usize; 2] {
        let reading = Sight { mask: &whole(sources), source: None, step: 0 };
        let reader = self.encoder.clamped(self.embed(&self.encoder, sources, 0), reading);
        let source = Source { hidden: self.encode(sources), mask: beside(sources, inputs) };
        let writing = Sight { mask: &causal(inputs), source: Some(&source), step: 0 };
        let writer = self.decoder.clamped(self.embed(&self.decoder, inputs, 0), writing);
        [reader[0] + writer[0], reader[1] + writer[1]]
    }

    fn encoding_parameters(&self) -> Vec<Vec<Parameter>> {
        [self.encoder.encoding_parameters(), self.decoder.encoding_parameters()].concat()
    }
}
