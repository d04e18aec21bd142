//! Stage 2: the prior.

mod captions;
mod sequences;
mod shared;
mod stage;
mod step;

pub use sequences::SequenceBatch;
pub use stage::train_prior;
pub(crate) use stage::{steps_made, trained_on};
pub use step::{PriorGradients, PriorTrainer};
