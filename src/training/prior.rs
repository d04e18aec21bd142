//! Stage 2: the prior.

mod run;
mod sequences;
mod step;

pub use run::train_prior;
pub use sequences::{SequenceBatch, Sequences};
pub use step::PriorTrainer;
