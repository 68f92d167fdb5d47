//! Whole networks.

mod block;
mod causal_lm;
mod classifier;
mod dropper;
mod initialize;
mod masked_lm;
mod network;
mod pair_head;
mod pass;
mod seq2seq;
mod seq2seq_session;
mod session;
mod tensors;
mod trunk;

pub use causal_lm::CausalLm;
pub use classifier::Classifier;
pub use masked_lm::MaskedLm;
pub use network::{Network, TokenModel};
pub use seq2seq::Seq2Seq;
pub use seq2seq_session::Seq2SeqSession;
pub use session::{LayerMemory, Session};
pub use tensors::{
    NamedTensor, Site, TensorError, count_parameters, for_each_parameter, gradients, is_of_an_encoding,
    load_tensors, map_parameters, named_tensors,
};
pub use trunk::{Loss, LossOptions, ModelError};
