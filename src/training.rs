//! Training: the loops of both stages and what they share. They emit events and know nothing of how those
//! are shown.

mod adamw;
mod gradients;
mod schedule;

pub use adamw::{AdamW, AdamWConfig, Moments};
pub use gradients::NamedGradients;
pub use schedule::LearningRate;
