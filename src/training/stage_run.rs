//! What a stage brings to the loop that both share.

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::event::Event;
use super::interval::Means;
use super::non_finite::NonFinite;
use super::objective::Objective;
use super::schedule::LearningRate;
use super::trainee::Trained;
use crate::checkpoint::{ModelFile, NamedTensor, ResumeState, Stage};
use crate::error::Result;
use crate::recipe::Recipe;

/// How often things happen, in steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cadence {
    pub(super) steps: usize,
    pub(super) log_every: usize,
    pub(super) validate_every: usize,
    pub(super) checkpoint_every: usize,
    /// Validations without a better score before the end; 0 never ends early.
    pub(super) patience: usize,
    /// Steps with a loss or gradient that is not finite that are passed over.
    pub(super) skip_non_finite: usize,
}

/// What a stage is trained on, which a resumed run must find unchanged.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// "data", "codes".
    pub(super) noun: &'static str,
    pub(super) fingerprint: String,
}

/// The numbers of a validation.
#[derive(Debug)]
pub(super) struct Validation {
    /// Lower is better.
    pub(super) score: f64,
    pub(super) values: Vec<(&'static str, f64)>,
}

/// What a stage brings to the loop.
pub(super) trait StageRun {
    const STAGE: Stage;

    fn device(&self) -> &Device;
    /// What is minimised.
    fn objective(&self) -> &Objective;
    /// Everything that an optimizer changes.
    fn trainees(&self) -> Vec<&dyn Trained>;
    /// The same, to be restored.
    fn trainees_mut(&mut self) -> Vec<&mut dyn Trained>;
    fn recipe(&self) -> &Recipe;
    fn n_parameters(&self) -> usize;
    /// Numbers that a training pass keeps of one batch for its backward pass.
    fn activations(&self) -> usize;
    /// Bytes of images or codes that stay in memory.
    fn input_bytes(&self) -> u64;
    /// Steps that see every training image once.
    fn steps_per_epoch(&self) -> f64;
    fn cadence(&self) -> Cadence;
    fn learning_rate(&self) -> LearningRate;
    fn input(&self) -> Input;
    /// The part of the recipe that the training depends on.
    fn settings(&self) -> Result<Value>;

    /// Makes everything ready for `step`; before step 0 also what comes before all training.
    fn prepare(&mut self, step: u64) -> Result<()>;
    /// One optimizer step; `step` counts from 0. Its numbers are the terms of the objective and the norm of the
    /// gradient, `[terms + 1]`. With `guard` they are read, and if one is not finite the step changes nothing.
    fn step(&mut self, step: u64, rate: f64, guard: bool) -> Result<Result<Tensor<1>, NonFinite>>;
    /// The values of a log line from the means over the interval; the loss comes first.
    fn logged(
        &mut self,
        means: &Means,
        rate: f64,
        steps_per_second: f64,
    ) -> Vec<(&'static str, f64)>;
    /// Scores the model on the validation split; `None` where that is empty.
    fn validate(&mut self, step: u64, emit: &mut dyn FnMut(Event)) -> Result<Option<Validation>>;

    /// The trained weights, in file layout.
    fn weights(&self) -> Result<Vec<NamedTensor>>;
    /// The model file of these weights, which step `step` gave with this validation score.
    fn model_file(
        &self,
        weights: Vec<NamedTensor>,
        step: u64,
        score: Option<f64>,
    ) -> Result<ModelFile>;

    /// Takes weights of this model out of a checkpoint: all of them, of the right shape.
    fn take_weights(&self, state: &mut ResumeState, prefix: &str) -> Result<Vec<NamedTensor>>;

    /// Adds what the stage keeps beside its trainees.
    fn save(&self, state: &mut ResumeState) -> Result<()>;
    /// Takes it out again, as it was after `updates` of the optimizer.
    fn restore(&mut self, state: &mut ResumeState, updates: u64) -> Result<()>;
}
