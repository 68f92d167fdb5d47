//! Writing a target, token by token: what the decoder remembers of it, and the source folded once.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use relin_kernels::encoding::Side;
use relin_kernels::linear_attention::{self as linear, LinearAttention, State};
use relin_kernels::segments::{Mask, Segment};
use relin_kernels::softmax_attention::{self as softmax, SoftmaxAttention};

use super::Seq2Seq;
use super::block::Cross;
use super::session::{Layer, LayerMemory};
use crate::data::Padded;
use crate::nn::{Attention, Kind};
use crate::ops;

/// One target in the middle of its writing.
#[derive(Debug)]
pub struct Seq2SeqSession<'a> {
    model: &'a Seq2Seq,
    layers: Vec<Layer>,
    /// One a layer; all sessions that were forked from one have it in common.
    sources: Arc<Vec<Remembered>>,
    position: usize,
}

/// What one layer remembers of the source.
#[derive(Debug)]
enum Remembered {
    /// Linear attention: `S = Σ k̃_t v_t^T` and the normaliser's sum, whatever the source's length.
    Linear { kernel: LinearAttention<f32>, parameters: Vec<f32>, state: State<f32> },
    /// Softmax attention: all encoded keys and values.
    Softmax { kernel: SoftmaxAttention<f32>, parameters: Vec<f32>, k: Vec<f32>, v: Vec<f32> },
}

impl<'a> Seq2SeqSession<'a> {
    /// Reads a source, its end mark included; before the target's first token.
    ///
    /// # Cost
    /// One pass of the encoder, and one sum over the source a layer.
    pub fn new(model: &'a Seq2Seq, source: &[u32]) -> Self {
        let hidden = model.encode(&Padded::new(&[source], 0));
        let remember = |attention| Remembered::of(&attention, hidden.clone());
        let restore = |attention: Attention| Layer::restore(&attention, LayerMemory::empty(&attention));
        Self {
            model,
            layers: model.attentions().map(restore).collect(),
            sources: Arc::new(model.cross_attentions().map(remember).collect()),
            position: 0,
        }
    }

    /// Another session at the same point.
    pub fn fork(&self) -> Self {
        let layers = self.model.attentions().zip(&self.layers);
        let layers = layers.map(|(attention, layer)| Layer::restore(&attention, layer.memory())).collect();
        Self { model: self.model, layers, sources: self.sources.clone(), position: self.position }
    }

    /// Number of tokens seen, the mark at the beginning included.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Takes one token of the target and gives the logits of the next.
    ///
    /// # Cost
    /// Constant in the length of the source and in the number of tokens seen with linear attention.
    pub fn step(&mut self, token: u32) -> Vec<f32> {
        let mut x = self.model.embed_token(token, self.position);
        for (index, (layer, source)) in self.layers.iter_mut().zip(&*self.sources).enumerate() {
            let attend = |attention: &Attention, x: Tensor<3>| layer.attend(attention, x);
            x = self.model.decoder().block_with_source(index, x, attend, |block, x| {
                let cross = block.cross.as_ref().expect("every block of a decoder looks at a source");
                source.look(cross, x, self.position as i64)
            });
        }
        self.position += 1;
        ops::to_vec(self.model.finish(x))
    }
}

impl Remembered {
    fn of(attention: &Attention, hidden: Tensor<3>) -> Self {
        let device = hidden.device();
        let [_, len, _] = hidden.dims();
        let [k, v] = attention.project_source(hidden);
        match attention.kind() {
            Kind::Linear { .. } => {
                let (kernel, position) = (attention.linear(), attention.position());
                let parameters = ops::to_vec(position.parameters(&device).inner());
                let (k, v) = (ops::to_vec(k), ops::to_vec(v));
                let (queries, keys) = ([Segment { start: 0, len: 0, offset: 0 }], [source(len)]);
                let mask = Mask::Full { queries: &queries, keys: &keys };
                let inputs = linear::Inputs { q: &[], k: &k, v: &v, params: &parameters, initial: None };
                let state = kernel.forward(mask, inputs).state;
                Self::Linear { kernel, parameters, state }
            }
            Kind::Softmax => Self::Softmax {
                kernel: attention.softmax(),
                parameters: ops::to_vec(attention.position().bias_parameters(&device).inner()),
                k: ops::to_vec(attention.position().forward(Side::Key, 0, k)),
                v: ops::to_vec(v),
            },
        }
    }

    /// `x + attention(norm x)` of the target's token at a position.
    fn look(&self, Cross { layernorm, attn }: &Cross, x: Tensor<3>, position: i64) -> Tensor<3> {
        let (device, shape) = (x.device(), x.dims());
        let q = attn.project_queries(layernorm, x.clone());
        let queries = [Segment { start: 0, len: 1, offset: position }];
        let out = match self {
            Self::Linear { kernel, parameters, state } => {
                let (q, keys) = (ops::to_vec(q), [source(0)]);
                let mask = Mask::Full { queries: &queries, keys: &keys };
                let inputs =
                    linear::Inputs { q: &q, k: &[], v: &[], params: parameters, initial: Some(state) };
                kernel.forward(mask, inputs).out
            }
            Self::Softmax { kernel, parameters, k, v } => {
                let q = ops::to_vec(attn.position().forward(Side::Query, position, q));
                let keys = [source(v.len() / (kernel.heads * kernel.value_dim))];
                let mask = Mask::Full { queries: &queries, keys: &keys };
                let (mut out, mut lse) = (vec![0.0; shape.iter().product()], vec![0.0; kernel.heads]);
                let inputs = softmax::Inputs { q: &q, k, v, params: parameters };
                let result = kernel.forward(&mut out, &mut lse, inputs, mask);
                result.unwrap_or_else(|error| panic!("{error}"));
                out
            }
        };
        attn.finish(Tensor::from_data(TensorData::new(out, shape), &device), Some(x))
    }
}

fn source(len: usize) -> Segment {
    Segment { start: 0, len, offset: 0 }
}
