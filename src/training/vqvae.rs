//! Stage 1: the tokenizer.

mod backbone;
mod codebook_learner;
mod collapse;
mod run;
mod step;

pub use backbone::load_backbone;
pub use codebook_learner::CodebookLearner;
pub use run::{steps_made, train_vqvae};
pub use step::{VqvaeGradients, VqvaeTerms, VqvaeTrainer};
