//! Generation, token by token: what a model remembers of the tokens so far.

use burn::tensor::{Tensor, TensorData};
use relin_kernels::encoding::Side;
use relin_kernels::linear_attention::recurrent::{Memory, Recurrent};
use relin_kernels::segments::{Mask, Segment};
use relin_kernels::softmax_attention::Inputs;

use super::CausalLm;
use crate::nn::{Attention, Kind};
use crate::ops;

/// One sequence in the middle of its generation.
#[derive(Debug)]
pub struct Session<'a> {
    model: &'a CausalLm,
    layers: Vec<Layer>,
    position: usize,
}

/// One layer's self-attention in the middle of a sequence.
#[derive(Debug)]
pub(super) enum Layer {
    Linear(Box<Recurrent<f32>>),
    Softmax(Cache),
}

/// What softmax attention remembers: everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cache {
    /// Encoded keys, `[T, H, K']`.
    k: Vec<f32>,
    /// Values, `[T, H, V]`.
    v: Vec<f32>,
}

/// What one layer remembers, as it is saved.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerMemory {
    /// Linear attention: constant size.
    Linear(Memory<f32>),
    /// Softmax attention: all keys and values.
    Softmax {
        /// Encoded keys, `[T, H, K']`.
        k: Vec<f32>,
        /// Values, `[T, H, V]`.
        v: Vec<f32>,
    },
}

impl<'a> Session<'a> {
    /// Before the first token.
    pub fn new(model: &'a CausalLm) -> Self {
        let memories = model.attentions().map(|attention| LayerMemory::empty(&attention)).collect();
        Self::restore(model, 0, memories)
    }

    /// Continues from what was remembered.
    ///
    /// # Panics
    /// If the memories are not one for each layer of this model.
    pub fn restore(model: &'a CausalLm, position: usize, memories: Vec<LayerMemory>) -> Self {
        assert_eq!(memories.len(), model.attentions().len(), "one memory a layer");
        let layers = model.attentions().zip(memories);
        let layers = layers.map(|(attention, memory)| Layer::restore(&attention, memory)).collect();
        Self { model, layers, position }
    }

    /// What every layer remembers.
    pub fn memories(&self) -> Vec<LayerMemory> {
        self.layers.iter().map(Layer::memory).collect()
    }

    /// Number of tokens seen.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Takes one token and gives the logits of the next.
    ///
    /// # Cost
    /// Constant in the number of tokens seen with linear attention.
    pub fn step(&mut self, token: u32) -> Vec<f32> {
        let mut x = self.model.trunk().embed(vec![token], [1, 1], self.position as i64);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            x = self.model.trunk().block_with(index, x, |attention, x| layer.attend(attention, x));
        }
        self.position += 1;
        ops::to_vec(self.model.finish(x))
    }

    /// Takes a whole prompt and gives the logits after it: the chunked form, a few thousand tokens at a time.
    pub fn prefill(&mut self, tokens: &[u32]) -> Option<Vec<f32>> {
        let mut last = None;
        for part in tokens.chunks(PREFILL) {
            last = Some(self.prefill_part(part));
        }
        last
    }

    fn prefill_part(&mut self, tokens: &[u32]) -> Vec<f32> {
        let time = tokens.len();
        let offset = self.position as i64;
        let mut x = self.model.trunk().embed(tokens.to_vec(), [1, time], offset);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            x = self
                .model
                .trunk()
                .block_with(index, x, |attention, x| layer.attend_to_many(attention, x, offset));
        }
        self.position += time;
        let [_, _, width] = x.dims();
        ops::to_vec(self.model.finish(x.slice([0..1, time - 1..time, 0..width])))
    }
}

/// Tokens of a prompt taken at once.
const PREFILL: usize = 4096;

impl LayerMemory {
    /// Before the first token.
    pub(super) fn empty(attention: &Attention) -> Self {
        match attention.kind() {
            Kind::Linear { .. } => {
                let kernel = attention.linear();
                let zero = kernel.zero_state(1);
                Self::Linear(Memory::new(&kernel, zero, 0))
            }
            Kind::Softmax => Self::Softmax { k: Vec::new(), v: Vec::new() },
        }
    }
}

impl Layer {
    pub(super) fn restore(attention: &Attention, memory: LayerMemory) -> Self {
        match memory {
            LayerMemory::Linear(memory) => {
                let parameters = ops::to_vec(attention.position().parameters(&Default::default()).inner());
                Self::Linear(Box::new(Recurrent::new(attention.linear(), &parameters, memory)))
            }
            LayerMemory::Softmax { k, v } => Self::Softmax(Cache { k, v }),
        }
    }

    pub(super) fn memory(&self) -> LayerMemory {
        match self {
            Self::Linear(recurrent) => LayerMemory::Linear(recurrent.memory()),
            Self::Softmax(cache) => LayerMemory::Softmax { k: cache.k.clone(), v: cache.v.clone() },
        }
    }

    pub(super) fn attend(&mut self, attention: &Attention, x: Tensor<3>) -> Tensor<3> {
        let (device, shape) = (x.device(), x.dims());
        match self {
            Self::Linear(recurrent) => {
                let [q, k, v] = attention.project(x).map(ops::to_vec);
                let mut out = vec![0.0; v.len()];
                recurrent.step(&q, &k, &v, &mut out);
                attention.finish(Tensor::from_data(TensorData::new(out, shape), &device), None)
            }
            Self::Softmax(cache) => {
                let offset = (cache.v.len() / shape[2]) as i64;
                cache.attend(attention, x, offset)
            }
        }
    }

    fn attend_to_many(&mut self, attention: &Attention, x: Tensor<3>, offset: i64) -> Tensor<3> {
        match self {
            Self::Linear(recurrent) => {
                let (device, shape) = (x.device(), x.dims());
                let [q, k, v] = attention.project(x).map(ops::to_vec);
                let out = recurrent.steps(&q, &k, &v);
                attention.finish(Tensor::from_data(TensorData::new(out, shape), &device), None)
            }
            Self::Softmax(cache) => cache.attend(attention, x, offset),
        }
    }
}

impl Cache {
    fn attend(&mut self, attention: &Attention, x: Tensor<3>, offset: i64) -> Tensor<3> {
        let (device, shape) = (x.device(), x.dims());
        let [q, k, v] = attention.project(x);
        let q = ops::to_vec(attention.position().forward(Side::Query, offset, q));
        self.k.extend(ops::to_vec(attention.position().forward(Side::Key, offset, k)));
        self.v.extend(ops::to_vec(v));
        let kernel = attention.softmax();
        let parameters = ops::to_vec(attention.position().bias_parameters(&device).inner());
        let (seen, time) = (self.v.len() / (kernel.heads * kernel.value_dim), shape[1]);
        let (mut out, mut lse) = (vec![0.0; shape.iter().product()], vec![0.0; time * kernel.heads]);
        let queries = [Segment { start: 0, len: time, offset }];
        let keys = [Segment { start: 0, len: seen, offset: 0 }];
        let mask = Mask::Causal { queries: &queries, keys: &keys };
        let inputs = Inputs { q: &q, k: &self.k, v: &self.v, params: &parameters };
        let result = kernel.forward(&mut out, &mut lse, inputs, mask);
        result.unwrap_or_else(|error| panic!("{error}"));
        attention.finish(Tensor::from_data(TensorData::new(out, shape), &device), None)
    }
}
