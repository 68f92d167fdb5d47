//! Training: the loop, its optimiser, its saved states.

pub mod events;
mod optimizer;
mod run;
mod state;

pub use run::{TrainError, train};
pub use state::StateError;
