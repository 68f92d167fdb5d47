//! Whole networks.

mod causal_lm;
mod initialize;
mod session;
mod tensors;

pub use causal_lm::{CausalLm, Loss, LossOptions, ModelError};
pub use session::{LayerMemory, Session};
pub use tensors::{
    NamedTensor, Site, TensorError, count_parameters, for_each_parameter, gradients, load_tensors,
    map_parameters, named_tensors,
};
