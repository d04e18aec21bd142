//! Events that a trainer emits. It never prints; `progress` shows them.

use std::path::PathBuf;

/// What is known of training before it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preflight {
    /// Number of trained parameters.
    pub parameters: usize,
    /// Estimated peak memory in bytes.
    pub memory: u64,
    /// Steps per epoch.
    pub steps_per_epoch: f64,
}

/// An event in a long operation. Steps are counted from 1; `step` is the last one completed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The work begins, or resumes after `step`.
    Started {
        /// What is done, in one word: `vqvae`, `codes`, `prior`, `sample`.
        stage: &'static str,
        /// The name of the run.
        name: String,
        /// Steps completed before; 0 unless resumed.
        step: usize,
        /// Total steps.
        steps: usize,
        /// What is known of training before it begins.
        training: Option<Preflight>,
    },
    /// The remaining time has been estimated from the first steps.
    Paced {
        /// Until the last step.
        seconds: f64,
    },
    /// A step is completed. Emitted for every step, so it carries nothing that costs a device synchronisation.
    Stepped {
        /// The step.
        step: usize,
    },
    /// The metrics of a log interval.
    Logged {
        /// The last step of the interval.
        step: usize,
        /// Total steps.
        steps: usize,
        /// Name and value, in the order to show.
        values: Vec<(&'static str, f64)>,
    },
    /// The metrics of a validation.
    Validated {
        /// The step after which it ran.
        step: usize,
        /// Name and value, in the order to show.
        values: Vec<(&'static str, f64)>,
        /// Whether it is the best so far; never where the newest weights are kept, whatever their score.
        best: bool,
    },
    /// A few fixed images and their current reconstructions.
    Preview {
        /// The step after which it was made.
        step: usize,
        /// u8 `[images, image_size, image_size, channels]`.
        originals: Vec<u8>,
        /// Their reconstructions.
        reconstructions: Vec<u8>,
    },
    /// What the user should know.
    Note(String),
    /// A warning for the user, with advice.
    Warning(String),
    /// A file was written.
    Saved {
        /// The file.
        path: PathBuf,
        /// The training step of its content.
        step: usize,
    },
    /// The work is done, or stopped early.
    Finished {
        /// The last step.
        step: usize,
        /// Elapsed time, excluding that before a resume.
        seconds: f64,
    },
}
