//! Training: the loop, its optimiser, its saved states.

pub mod events;
mod learner;
mod optimizer;
mod run;
mod state;

pub use learner::Learner;
pub use run::{TrainError, train};
pub use state::{StateError, seconds_spent};
