//! The burn side of the library: operators against the kernels behind them, models against themselves.

mod biases;
mod causal_lm;
mod classification;
mod linear_attention;
mod masked_lm;
mod music;
mod operators;
mod presets;
mod probe;
mod seq2seq;
mod sequences;
mod sessions;
mod support;
mod ten_steps;
mod tensors;
mod watch;
