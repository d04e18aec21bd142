//! Stage 2: the prior.

mod sequences;
mod stage;
mod step;

pub use sequences::{SequenceBatch, Sequences};
pub use stage::{steps_made, train_prior, trained_on};
pub use step::{PriorGradients, PriorTrainer};
