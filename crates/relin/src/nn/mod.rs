//! burn modules: each a `Config` that `init(device)` turns into a module with a `forward`.

mod attention;
mod embedding;
mod feed_forward;
mod linear_attention;
mod ngrams;
mod norm;
mod relative;
mod stem;

pub use attention::{Attention, AttentionConfig, Kind};
pub use embedding::{Embedding, EmbeddingConfig, sinusoidal};
pub(crate) use feed_forward::linear_parameters;
pub use feed_forward::{FeedForward, FeedForwardConfig};
pub use linear_attention::{LinearAttention, LinearAttentionConfig};
pub use ngrams::{Ngrams, NgramsConfig};
pub use norm::{Norm, NormConfig};
pub use relative::{Relative, RelativeConfig};
pub use stem::{Layout, Stem, StemConfig};
