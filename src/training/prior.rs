//! Stage 2: the prior.

mod run;
mod sequences;
mod step;

pub use run::{steps_made, train_prior, trained_on};
pub use sequences::{SequenceBatch, Sequences};
pub use step::{PriorGradients, PriorTrainer};
