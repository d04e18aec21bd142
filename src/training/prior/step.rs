//! One optimizer step of stage 2: the cross entropy of code sequences, accumulated over micro batches.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::sequences::SequenceBatch;
use crate::checkpoint::Place;
use crate::prior::{DropoutSeeds, Prior, PriorConfig};
use crate::recipe::{MatrixOptimizer, PriorSection};
use crate::rng::{Purpose, stream};
use crate::training::averaged::Averaged;
use crate::training::decay::decays;
use crate::training::{AdamWConfig, NamedGradients, NonFinite, Objective, Optimizer, Trainee};

/// AdamW's beta1 and epsilon, as GPT-2's successors have them.
const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// The matrices that Muon is for: neither embeddings nor the head, whose rows belong to single codes.
fn is_matrix_of_a_block(place: &Place) -> bool {
    place.layer() == Some(("Linear", "weight")) && place.name().starts_with("blocks.")
}

/// The trainer of stage 2.
#[derive(Debug)]
pub struct PriorTrainer {
    /// The model and its optimizer.
    pub prior: Trainee<Prior>,
    /// Moving averages of its weights; `None` unless the recipe asks for them.
    pub(super) averaged: Option<Averaged<Prior>>,
    objective: Objective,
    section: PriorSection,
    seed: u64,
}

/// The result of the backward passes of a step.
#[derive(Debug)]
pub struct PriorGradients {
    /// The step that they are of.
    step: u64,
    /// Of the model; data-parallel processes may average theirs before the update.
    pub gradients: NamedGradients,
    /// Nats per code, `[1]`.
    loss: Tensor<1>,
}

impl PriorTrainer {
    /// A new model on `device` (which must track gradients).
    pub fn new(config: &PriorConfig, section: &PriorSection, seed: u64, device: &Device) -> Self {
        let constants = AdamWConfig {
            beta1: BETA1,
            beta2: section.beta2,
            epsilon: EPSILON,
            weight_decay: section.weight_decay,
        };
        let prior = Prior::new(config, seed, device);
        let optimizer = Optimizer::new(constants, decays);
        let optimizer = match section.optimizer {
            MatrixOptimizer::Adamw => optimizer,
            MatrixOptimizer::Muon => optimizer.with_muon(is_matrix_of_a_block),
        };
        let decay = section.ema_weights;
        Self {
            averaged: (decay > 0.0).then(|| Averaged::new(prior.valid(), decay)),
            prior: Trainee::new(prior, optimizer, ""),
            objective: Objective::new([("nats_per_code", 1.0)]),
            section: section.clone(),
            seed,
        }
    }

    /// The loss terms and their weights.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The model for validation and files: without autodiff, and with averaged weights where they are kept.
    pub fn model(&self) -> Prior {
        let averaged = self.averaged.as_ref().map(|averaged| averaged.module().clone());
        averaged.unwrap_or_else(|| self.prior.module.valid())
    }

    /// Lets the averages start anew from the current weights.
    pub(super) fn restart_average(&mut self) {
        if let Some(averaged) = &mut self.averaged {
            *averaged = Averaged::new(self.prior.module.valid(), self.section.ema_weights);
        }
    }

    /// One step at learning rate `rate` over the micro batches `batches`; `step` counts from 0. Returns nats per code
    /// and the global gradient norm before clipping, `[2]`. With `guard`, both are checked before the update.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn step(
        &mut self,
        step: u64,
        batches: impl Iterator<Item = SequenceBatch>,
        rate: f64,
        guard: bool,
    ) -> Result<Tensor<1>, NonFinite> {
        let gradients = self.gradients(step, batches);
        self.apply(gradients, rate, guard)
    }

    /// Forward and backward passes over the micro batches of step `step`.
    pub fn gradients(
        &self,
        step: u64,
        batches: impl Iterator<Item = SequenceBatch>,
    ) -> PriorGradients {
        let share = 1.0 / self.section.accumulate as f64;
        let mut gradients = NamedGradients::default();
        let mut losses = Vec::with_capacity(self.section.accumulate);
        for (micro, SequenceBatch { conditions, codes }) in (0..).zip(batches) {
            let seeds = DropoutSeeds::new(stream(self.seed, Purpose::Dropout, step, micro));
            let loss = self.prior.module.loss(&conditions, codes, Some(seeds));
            let loss = loss.mul_scalar(share);
            losses.push(loss.clone().inner());
            gradients.add(self.prior.gradients_of(loss.backward()));
        }
        PriorGradients { step, gradients, loss: Tensor::cat(losses, 0).sum() }
    }

    /// Changes the model by `gradients` at learning rate `rate`.
    ///
    /// # Errors
    /// With `guard`, a number that is not finite; then the step has changed nothing.
    pub fn apply(
        &mut self,
        gradients: PriorGradients,
        rate: f64,
        guard: bool,
    ) -> Result<Tensor<1>, NonFinite> {
        let PriorGradients { step, mut gradients, loss } = gradients;
        let norm = gradients.norm().unwrap_or_else(|| loss.zeros_like());
        let terms = Tensor::cat(vec![loss, norm.clone()], 0); // [2]
        let names = self.objective.names();
        if let Some(found) = guard.then(|| NonFinite::first(names, &terms)).flatten() {
            return Err(found);
        }
        if self.section.gradient_clip > 0.0 {
            gradients.clip(norm, self.section.gradient_clip);
        }
        self.prior.apply(gradients, rate);
        if let Some(averaged) = &mut self.averaged {
            averaged.update(&self.prior.module.valid(), step);
        }
        Ok(terms)
    }
}
