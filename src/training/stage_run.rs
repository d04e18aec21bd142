//! The interface between a stage and the shared loop.

use std::ops::Range;

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

/// Intervals in steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cadence {
    pub(super) steps: usize,
    pub(super) log_every: usize,
    pub(super) validate_every: usize,
    pub(super) checkpoint_every: usize,
    /// Validations without a better score before early stopping; 0 never stops early.
    pub(super) patience: usize,
    /// How many steps with a loss or gradient that is not finite may be skipped.
    pub(super) skip_non_finite: usize,
}

/// The input of a stage, which must be unchanged on resume.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// "data", "codes".
    pub(super) noun: &'static str,
    pub(super) fingerprint: String,
}

/// The result of a validation.
#[derive(Debug)]
pub(super) struct Validation {
    /// Lower is better.
    pub(super) score: f64,
    pub(super) values: Vec<(&'static str, f64)>,
}

/// A stage, as the loop sees it.
pub(super) trait StageRun {
    const STAGE: Stage;

    fn device(&self) -> &Device;
    /// The training loss.
    fn objective(&self) -> &Objective;
    /// Every module with its optimizer.
    fn trainees(&self) -> Vec<&dyn Trained>;
    /// The same, for restoring.
    fn trainees_mut(&mut self) -> Vec<&mut dyn Trained>;
    fn recipe(&self) -> &Recipe;
    fn n_parameters(&self) -> usize {
        self.trainees().iter().map(|trainee| trainee.n_parameters()).sum()
    }
    /// Number of activations that the forward pass of one batch keeps for the backward pass.
    fn activations(&self) -> usize;
    /// Bytes of images or codes that stay in memory.
    fn input_bytes(&self) -> u64;
    /// Steps per epoch.
    fn steps_per_epoch(&self) -> f64;
    fn cadence(&self) -> Cadence;
    fn learning_rate(&self) -> LearningRate;
    fn input(&self) -> Input;
    /// What the user should know before the first step.
    fn note(&self) -> Option<String> {
        None
    }
    /// The part of the recipe that training depends on.
    fn settings(&self) -> Result<Value>;

    /// Takes over what fits of another model's weights, before the first step; returns what that is, in words.
    fn start_from(&mut self, from: &ModelFile) -> Result<String>;
    /// Prepares for `step`; before step 0 also what precedes all training.
    fn prepare(&mut self, step: u64) -> Result<()>;
    /// One optimizer step; `step` counts from 0. Returns the terms of the objective and the gradient norm, `[terms +
    /// 1]`. With `guard` they are read back, and if one is not finite the step changes nothing.
    fn step(&mut self, step: u64, rate: f64, guard: bool) -> Result<Result<Tensor<1>, NonFinite>>;
    /// Whether a term of the loss joins it, or its weight rises, in one of these steps.
    fn term_joins(&self, _steps: Range<u64>) -> bool {
        false
    }
    /// The values of a log line from the means over the interval; the loss comes first.
    fn logged(
        &mut self,
        means: &Means,
        rate: f64,
        steps_per_second: f64,
    ) -> Vec<(&'static str, f64)>;
    /// Scores the model on the validation split; `None` where that is empty.
    fn validate(&mut self, step: u64, emit: &mut dyn FnMut(Event)) -> Result<Option<Validation>>;

    /// Whether the newest model is kept instead of the one with the best score.
    fn keeps_newest(&self) -> bool {
        false
    }

    /// The trained weights, in file layout.
    fn weights(&self) -> Result<Vec<NamedTensor>>;
    /// The model file of these weights, from step `step` with this validation score.
    fn model_file(
        &self,
        weights: Vec<NamedTensor>,
        step: u64,
        score: Option<f64>,
    ) -> Result<ModelFile>;

    /// Takes weights of this model from a checkpoint: all of them, of the right shape.
    fn take_weights(&self, state: &mut ResumeState, prefix: &str) -> Result<Vec<NamedTensor>>;

    /// Saves the stage's state other than its trainees.
    fn save(&self, state: &mut ResumeState) -> Result<()>;
    /// Restores it, as it was after `updates` optimizer steps.
    fn restore(&mut self, state: &mut ResumeState, updates: u64) -> Result<()>;
}
