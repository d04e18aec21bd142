//! Stage 1: the tokenizer.

mod adversary;
mod backbone;
mod codebook_learner;
mod collapse;
mod diff_augment;
mod health;
mod levels;
mod stage;
mod step;

pub use backbone::load_backbone;
pub use codebook_learner::CodebookLearner;
pub(crate) use stage::steps_made;
pub use stage::train_vqvae;
pub use step::{VqvaeGradients, VqvaeTerms, VqvaeTrainer};
