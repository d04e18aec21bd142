//! One optimizer step of stage 2: the cross entropy of code sequences, accumulated over micro batches.

use burn::tensor::{Device, Tensor};

use super::sequences::SequenceBatch;
use crate::prior::{DropoutSeeds, Gpt, PriorConfig, decays};
use crate::recipe::PriorSection;
use crate::rng::{Purpose, stream};
use crate::training::{AdamW, AdamWConfig, NamedGradients, NonFinite};

/// AdamW's decay of the first moment and its epsilon, as GPT-2's successors have them.
const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// The model and its optimizer.
#[derive(Debug)]
pub struct PriorTrainer {
    /// The model.
    pub gpt: Gpt,
    /// Its optimizer.
    pub optimizer: AdamW,
    section: PriorSection,
    seed: u64,
}

impl PriorTrainer {
    /// What a step tells: nats per code, and the global norm of the gradient before clipping.
    pub const TERMS: &'static [&'static str] = &["nats_per_code", "gradient_norm"];

    /// A fresh model on `device` (which must track gradients).
    pub fn new(config: &PriorConfig, section: &PriorSection, seed: u64, device: &Device) -> Self {
        let constants = AdamWConfig {
            beta1: BETA1,
            beta2: section.beta2,
            epsilon: EPSILON,
            weight_decay: section.weight_decay,
        };
        Self {
            gpt: Gpt::new(config, seed, device),
            optimizer: AdamW::new(constants, decays),
            section: section.clone(),
            seed,
        }
    }

    /// One step at learning rate `rate` over the micro batches `batches`; `step` counts from 0. Gives the
    /// numbers of [`Self::TERMS`], `[2]`. With `guard`, they are read back first.
    ///
    /// # Errors
    /// With `guard`, a number that is not finite; then the step has changed nothing.
    pub fn step(
        &mut self,
        step: u64,
        batches: impl Iterator<Item = SequenceBatch>,
        rate: f64,
        guard: bool,
    ) -> Result<Tensor<1>, NonFinite> {
        let share = 1.0 / self.section.accumulate as f64;
        let mut gradients = NamedGradients::default();
        let mut losses = Vec::with_capacity(self.section.accumulate);
        for (micro, SequenceBatch { classes, codes }) in (0..).zip(batches) {
            let seeds = DropoutSeeds::new(stream(self.seed, Purpose::Dropout, step, micro));
            let loss = self.gpt.loss(classes, codes, Some(seeds)).mul_scalar(share);
            losses.push(loss.clone().inner());
            gradients.add(NamedGradients::of(&self.gpt, loss.backward()));
        }
        let loss = Tensor::cat(losses, 0).sum();
        let norm = gradients.norm().unwrap_or_else(|| loss.zeros_like());
        let terms = Tensor::cat(vec![loss, norm.clone()], 0); // [2]
        if let Some(found) = guard.then(|| NonFinite::first(Self::TERMS, &terms)).flatten() {
            return Err(found);
        }
        if self.section.gradient_clip > 0.0 {
            gradients.clip(norm, self.section.gradient_clip);
        }
        self.gpt = self.optimizer.step(self.gpt.clone(), gradients, rate);
        Ok(terms)
    }
}
