//! Stage 1: the tokenizer.

mod backbone;
mod collapse;
mod resume;
mod run;
mod step;

pub use backbone::load_backbone;
pub use run::{steps_made, train_vqvae};
pub use step::{VqvaeTerms, VqvaeTrainer};
