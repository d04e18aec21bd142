//! What a trainer says while it works. It emits these and never prints; `progress` draws them.

use std::path::PathBuf;

/// What is known of a training before it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preflight {
    /// Trained weights.
    pub parameters: usize,
    /// Bytes of memory that the training takes at its peak, estimated.
    pub memory: u64,
    /// Steps that see every training image once.
    pub steps_per_epoch: f64,
}

/// One thing that happened in a long piece of work. Steps are counted from 1; `step` is the last one finished.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The work begins, or goes on after `step`.
    Started {
        /// What is done, in a word: `vqvae`, `codes`, `prior`, `sample`.
        stage: &'static str,
        /// The name of the run.
        name: String,
        /// Steps finished before; 0 unless resumed.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// What is known of a training before it begins.
        training: Option<Preflight>,
    },
    /// A few steps have shown how long the rest will take.
    Paced {
        /// Until the last step.
        seconds: f64,
    },
    /// A step is finished. Emitted for every step, so it carries nothing that costs a read-back.
    Stepped {
        /// The step.
        step: usize,
    },
    /// The numbers of a log interval.
    Logged {
        /// The last step of the interval.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Name and value, in the order to show.
        values: Vec<(&'static str, f64)>,
    },
    /// The numbers of a validation.
    Validated {
        /// The step after which it ran.
        step: usize,
        /// Name and value, in the order to show.
        values: Vec<(&'static str, f64)>,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A few fixed images and what the model makes of them now.
    Preview {
        /// The step after which it was made.
        step: usize,
        /// u8 `[images, image_size, image_size, channels]`.
        originals: Vec<u8>,
        /// The same through the tokenizer and back.
        reconstructions: Vec<u8>,
    },
    /// Something the user should know, with what to do about it.
    Warning(String),
    /// A file was written.
    Saved {
        /// The file.
        path: PathBuf,
        /// The step it holds.
        step: usize,
    },
    /// The work is done, or stopped early.
    Finished {
        /// The last step.
        step: usize,
        /// How long it took, without what was done before a resume.
        seconds: f64,
    },
}
