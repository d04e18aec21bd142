//! One optimizer step of stage 1: the loss of Eq. 3 (van den Oord et al. 2017) as a sum of weighted terms, the update
//! of encoder and decoder, and that of the codebook by its own rules. It knows no files and no data set.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::adversary::{Adversary, AdversaryGradients};
use super::codebook_learner::CodebookLearner;
use crate::error::Result;
use crate::ops::frequency::focal_frequency_loss;
use crate::ops::nearest::counts_by_code;
use crate::ops::{mean_absolute_error, mean_huber_error, mean_squared_error};
use crate::perceptual::FeatureNet;
use crate::recipe::{MatrixOptimizer, ReconstructionLoss, VqvaeSection};
use crate::tokenizer::{
    Assigned, LossTerm, TermWeights, Tokenizer, TokenizerConfig, TokenizerOutput,
};
use crate::training::averaged::Averaged;
use crate::training::decay::decays;
use crate::training::{AdamWConfig, NamedGradients, NonFinite, Objective, Optimizer, Trainee};

/// Adam's hyperparameters as in the paper's released code.
const ADAM: (f64, f64, f64) = (0.9, 0.999, 1e-8);
/// The reconstruction term, divided by the variance of the training data.
const RECONSTRUCTION: &str = "reconstruction";
/// The focal frequency loss.
const FOCAL_FREQUENCY: &str = "focal_frequency";
/// The perceptual term.
const PERCEPTUAL: &str = "perceptual";

/// The model and all training state.
#[derive(Debug)]
pub struct VqvaeTrainer {
    /// Encoder, decoder and, where its rule is the gradient, the codebook.
    pub tokenizer: Trainee<Tokenizer>,
    /// Update the codebooks, one each.
    pub learners: Vec<CodebookLearner>,
    /// The feature net of the perceptual term, if there is one.
    perceptual: Option<FeatureNet>,
    /// The discriminator, if there is one.
    pub(super) adversary: Option<Adversary>,
    /// The averages of the weights, if they are kept.
    pub(super) averaged: Option<Averaged<Tokenizer>>,
    objective: Objective,
    section: VqvaeSection,
    variance: f64,
}

/// Results of a backward pass that the update needs.
#[derive(Debug)]
pub struct VqvaeGradients {
    /// Of the tokenizer; those of several processes may be averaged before they are applied.
    pub gradients: NamedGradients,
    /// The loss terms, `[1]` each.
    terms: Vec<Tensor<1>>,
    /// Latents and codes of each level of the quantizer.
    levels: Vec<Assigned>,
    /// `None` without a discriminator, and before it starts.
    adversary: Option<AdversaryGradients>,
}

/// The metrics of one step, still on the device.
#[derive(Debug, Clone)]
pub struct VqvaeTerms {
    /// The terms of the [objective](VqvaeTrainer::objective), unweighted, then the global gradient norm before
    /// clipping, `[terms + 1]`.
    pub terms: Tensor<1>,
    /// Positions assigned to each code, level by level, `[depth * codes]`.
    pub counts: Tensor<1>,
}

/// The result of a step.
type Step = std::result::Result<VqvaeTerms, NonFinite>;

impl VqvaeTrainer {
    /// A newly initialised model on `device` (which must support autodiff). `variance` is that of the training pixels.
    ///
    /// # Errors
    /// Weights of the perceptual net that cannot be read.
    pub fn new(
        config: &TokenizerConfig,
        section: &VqvaeSection,
        variance: f64,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let perceptual = FeatureNet::of(&section.perceptual, device)?;
        let mut tokenizer = Tokenizer::new(config, seed, device);
        let codebooks = tokenizer.codebook.codebooks_mut().iter_mut().enumerate();
        let learners: Vec<_> = codebooks
            .map(|(level, codebook)| CodebookLearner::new(codebook, section, seed, level))
            .collect();
        let weights = TermWeights {
            codebook: learners.first().map_or(0.0, CodebookLearner::term_weight),
            commitment: section.commitment,
        };
        let terms = tokenizer.codebook.terms(weights);
        let (beta1, beta2, epsilon) = ADAM;
        let weight_decay = section.weight_decay;
        let constants = AdamWConfig { beta1, beta2, epsilon, weight_decay };
        let optimizer = Optimizer::new(constants, decays);
        let optimizer = match section.optimizer {
            MatrixOptimizer::Adamw => optimizer,
            MatrixOptimizer::Muon => optimizer.with_muon(decays),
        };
        let decay = section.ema_weights;
        let averaged = (decay > 0.0).then(|| Averaged::new(tokenizer.valid(), decay));
        let mut weights = vec![(RECONSTRUCTION, 1.0)];
        let focal_frequency = section.focal_frequency;
        weights.extend((focal_frequency > 0.0).then_some((FOCAL_FREQUENCY, focal_frequency)));
        weights.extend(perceptual.as_ref().map(|_| (PERCEPTUAL, section.perceptual.weight)));
        weights.extend(terms);
        let adversary = Adversary::of(&section.adversarial, config, seed, device);
        weights.extend(adversary.iter().flat_map(|_| Adversary::terms(&section.adversarial)));
        Ok(Self {
            objective: Objective::new(weights),
            perceptual,
            adversary,
            averaged,
            tokenizer: Trainee::new(tokenizer, optimizer, ""),
            learners,
            section: section.clone(),
            variance,
        })
    }

    /// The training loss.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Initialises the codebooks by k-means over the latents of `images`, each over what those before it leave over;
    /// does nothing for a quantizer without any.
    ///
    /// # Shapes
    /// - `images`: batches of `[batch, height, width, channels]`
    pub fn start_codebook(&mut self, images: impl Iterator<Item = Tensor<4>>) {
        let frozen = self.tokenizer.module.valid();
        if self.learners.is_empty() {
            return;
        }
        let rows = images.map(|batch| {
            let latents = frozen.latents(batch.inner());
            let [batch, h, w, dim] = latents.dims();
            latents.reshape([batch * h * w, dim])
        });
        let mut rows = Tensor::cat(rows.collect(), 0);
        let codebooks = self.tokenizer.module.codebook.codebooks_mut();
        let last = self.learners.len() - 1;
        for (level, (learner, codebook)) in self.learners.iter().zip(codebooks).enumerate() {
            learner.start(codebook, rows.clone());
            if level < last {
                let codebook = codebook.valid();
                rows = rows.clone() - codebook.lookup(codebook.assign(rows));
            }
        }
    }

    /// One step at learning rate `rate`; `step` counts from 0. With `guard`, the loss terms are read back first.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn step(&mut self, step: u64, images: Tensor<4>, rate: f64, guard: bool) -> Step {
        let gradients = self.gradients(step, images);
        self.apply(step, gradients, rate, guard)
    }

    /// Forward and backward pass of `step`, counted from 0.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    pub fn gradients(&self, step: u64, images: Tensor<4>) -> VqvaeGradients {
        let TokenizerOutput { reconstruction, quantized } =
            self.tokenizer.module.forward(images.clone(), self.section.gradient_estimator);
        let perceptual = self.perceptual.as_ref();
        let pairs = |of_batch: f64| [&reconstruction, &images].map(|all| share(all, of_batch));
        let perceptual = perceptual.map(|net| {
            if step < self.section.perceptual.start_step as u64 {
                return Tensor::zeros([1], &images.device());
            }
            let [x, y] = pairs(self.section.perceptual.share);
            net.distance(x, y)
        });
        let judged = self.adversary.as_ref();
        let judged = judged.map(|adversary| {
            let [reconstruction, images] = pairs(self.section.adversarial.share);
            adversary.judge(step, images, reconstruction)
        });
        let (judged, adversary) = judged.unwrap_or_default();
        let spectrum = (self.section.focal_frequency > 0.0)
            .then(|| focal_frequency_loss(reconstruction.clone(), images.clone()));
        let term = match self.section.loss {
            ReconstructionLoss::Mse => mean_squared_error(reconstruction, images),
            ReconstructionLoss::L1 => mean_absolute_error(reconstruction, images),
            ReconstructionLoss::Huber => {
                mean_huber_error(reconstruction, images, self.section.huber_delta)
            }
        };
        let term = term.mul_scalar(1.0 / self.variance);
        let mut terms = vec![LossTerm { name: RECONSTRUCTION, value: term }];
        terms.extend(spectrum.map(|value| LossTerm { name: FOCAL_FREQUENCY, value }));
        terms.extend(perceptual.map(|value| LossTerm { name: PERCEPTUAL, value }));
        terms.extend(quantized.terms);
        terms.extend(judged);
        let gradients = match self.objective.total(&terms) {
            Some(loss) => self.tokenizer.gradients_of(loss.backward()),
            None => NamedGradients::default(),
        };
        VqvaeGradients {
            gradients,
            terms: terms.into_iter().map(|term| term.value.inner()).collect(),
            levels: quantized.levels.into_iter().map(inner).collect(),
            adversary,
        }
    }

    /// Updates the model by `gradients` at learning rate `rate`, and the codebook by its rules; `step` counts from 0.
    ///
    /// # Errors
    /// With `guard`, a value that is not finite; the step has then changed nothing.
    pub fn apply(&mut self, step: u64, gradients: VqvaeGradients, rate: f64, guard: bool) -> Step {
        let VqvaeGradients { mut gradients, mut terms, levels, adversary } = gradients;
        // The first term is that of the reconstruction.
        let norm = gradients.norm().unwrap_or_else(|| terms[0].zeros_like());
        // Times 0, so that a norm of the discriminator that is not finite makes this one so, and changes nothing else.
        let of_adversary = adversary.as_ref().and_then(|one| one.norm.clone());
        terms.push(match of_adversary {
            Some(other) => norm.clone() + other.mul_scalar(0.0),
            None => norm.clone(),
        });
        let terms = Tensor::cat(terms, 0); // [terms + 1]
        if let Some(found) =
            guard.then(|| NonFinite::first(self.objective.names(), &terms)).flatten()
        {
            return Err(found);
        }
        if self.section.gradient_clip > 0.0 {
            gradients.clip(norm, self.section.gradient_clip);
        }
        self.tokenizer.apply(gradients, rate);
        if let Some((discriminator, gradients)) = self.adversary.as_mut().zip(adversary) {
            let of_peak = rate / self.section.learning_rate;
            discriminator.apply(gradients, of_peak, self.section.gradient_clip);
        }
        let n_codes = self.tokenizer.module.config().codebook_size;
        let codebooks = self.tokenizer.module.codebook.codebooks_mut();
        let mut learned = self.learners.iter_mut().zip(codebooks);
        let counts = levels.into_iter().map(|Assigned { latents, codes }| match learned.next() {
            Some((learner, codebook)) => learner.update(codebook, step, latents, codes),
            None => counts_by_code(codes, n_codes),
        });
        let counts = Tensor::cat(counts.collect(), 0);
        if let Some(averaged) = &mut self.averaged {
            averaged.update(&self.tokenizer.module.valid(), step);
        }
        Ok(VqvaeTerms { terms, counts })
    }

    /// The model for validation and files: without autodiff, and with averaged weights where they are kept.
    pub fn model(&self) -> Tokenizer {
        let averaged = self.averaged.as_ref().map(|averaged| averaged.module().clone());
        averaged.unwrap_or_else(|| self.tokenizer.module.valid())
    }

    /// The feature net of the perceptual term and its weight, if there is one.
    pub(super) fn perceptual(&self) -> Option<(FeatureNet, f64)> {
        let net = self.perceptual.as_ref()?;
        Some((net.valid(), self.section.perceptual.weight))
    }

    /// Lets the averages start anew from the current weights.
    pub(super) fn restart_average(&mut self) {
        if let Some(averaged) = &mut self.averaged {
            *averaged = Averaged::new(self.tokenizer.module.valid(), self.section.ema_weights);
        }
    }

    /// Whether a term of the loss starts, or its weight rises, in one of these steps, counted from 0.
    pub(super) fn term_joins(&self, steps: Range<u64>) -> bool {
        let VqvaeSection { perceptual, adversarial, .. } = &self.section;
        let in_steps = |first: usize, n: usize| {
            (first as u64) < steps.end && (first + n.max(1)) as u64 > steps.start
        };
        (self.perceptual.is_some() && in_steps(perceptual.start_step, 1))
            || (self.adversary.is_some()
                && in_steps(adversarial.start_step, adversarial.ramp_steps))
    }

    /// Activations that the forward passes of a step keep for the backward passes.
    pub(super) fn activations(&self) -> usize {
        let tokenizer = &self.tokenizer.module;
        let size = tokenizer.config().image_size;
        let VqvaeSection { perceptual, adversarial, batch_size, .. } = &self.section;
        let of_net = self.perceptual.as_ref().map_or(0, |net| net.activations(size));
        let of_adversary = self.adversary.as_ref().map_or(0, |one| one.activations(size));
        batch_size * tokenizer.activations()
            + share_of(*batch_size, perceptual.share) * of_net
            + share_of(*batch_size, adversarial.share) * of_adversary
    }
}

/// The first images of a batch, this share of all, at least one.
fn share(images: &Tensor<4>, of_batch: f64) -> Tensor<4> {
    images.clone().narrow(0, 0, share_of(images.dims()[0], of_batch))
}

/// How many of `batch` images are this share.
fn share_of(batch: usize, share: f64) -> usize {
    ((batch as f64 * share).round() as usize).clamp(1, batch.max(1))
}

/// Without its autodiff graph.
fn inner(Assigned { latents, codes }: Assigned) -> Assigned {
    Assigned { latents: latents.inner(), codes: codes.inner() }
}
