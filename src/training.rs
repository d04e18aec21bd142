//! Training: the loops of both stages and what they share. They emit events and know nothing of how these are shown.

mod averaged;
mod decay;
mod gradients;
mod optimizer;
mod schedule;

mod counters;
pub mod event;
mod interval;
mod job;
mod non_finite;
mod objective;
mod pace;
mod spike;
mod stage_loop;
mod stage_run;
mod trainee;

pub mod prior;
pub mod vqvae;

pub use event::{Event, Preflight};
pub use gradients::NamedGradients;
pub use job::{Begin, Job, StageOutcome};
pub use non_finite::NonFinite;
pub use objective::Objective;
pub use optimizer::{AdamWConfig, Moments, Optimizer, OptimizerState};
pub use schedule::LearningRate;
pub use trainee::Trainee;
