//! The adversarial terms: a discriminator that learns to tell reconstructions from images, and what the decoder is
//! told by it. It owns the discriminator's training and its part of a checkpoint.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::diff_augment::DiffAugment;
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::discriminator::{AdversarialLoss, Discriminator, Judgement, feature_matching, lecam};
use crate::error::Result;
use crate::ops::init::WeightInit;
use crate::recipe::AdversarialSection;
use crate::tokenizer::{LossTerm, TokenizerConfig};
use crate::training::decay::decays;
use crate::training::trainee::{Trained, Trainee};
use crate::training::{AdamWConfig, NamedGradients, Optimizer};

/// Prefix of the discriminator's tensors in a checkpoint.
const PREFIX: &str = "discriminator.";
/// Names of what else is saved: the number of updates, and the running means of LeCAM.
const UPDATES: &str = "updates";
const MEANS: &str = "logit_means";
/// The decay of LeCAM's running means (Tseng et al. 2021).
const LECAM_DECAY: f64 = 0.99;
/// Keeps the discriminator's initial weights apart from the tokenizer's, which have the same seed.
const WEIGHTS_OFFSET: u64 = 0x6469_7363;

/// The share of patches that the discriminator judges right, one of [`Adversary::terms`].
pub(super) const PATCHES_RIGHT: &str = "patches_right";

/// A discriminator in training.
#[derive(Debug)]
pub(super) struct Adversary {
    trainee: Trainee<Discriminator>,
    /// Running means of the logits for images and for reconstructions, `[2]`.
    means: Tensor<1>,
    updates: u64,
    loss: AdversarialLoss,
    section: AdversarialSection,
    seed: u64,
}

/// Results of a backward pass that the discriminator's update needs.
#[derive(Debug)]
pub(super) struct AdversaryGradients {
    gradients: NamedGradients,
    /// Their global norm, `[1]`.
    pub(super) norm: Option<Tensor<1>>,
    /// The new running means.
    means: Tensor<1>,
}

impl Adversary {
    /// The one that `section` asks for, on `device` (which must support autodiff); `None` where it asks for none.
    pub(super) fn of(
        section: &AdversarialSection,
        config: &TokenizerConfig,
        seed: u64,
        device: &Device,
    ) -> Option<Self> {
        let loss = section.loss.loss()?;
        let mut init = WeightInit::new(seed ^ WEIGHTS_OFFSET, device);
        let AdversarialSection { width, beta1, beta2, .. } = *section;
        let discriminator =
            Discriminator::new(config.channels, width, config.image_size, &mut init);
        let constants = AdamWConfig { beta1, beta2, epsilon: 1e-8, weight_decay: 0.0 };
        Some(Self {
            trainee: Trainee::new(discriminator, Optimizer::new(constants, decays), PREFIX),
            means: Tensor::zeros([2], &device.clone().inner()),
            updates: 0,
            loss,
            section: section.clone(),
            seed,
        })
    }

    /// Names and weights of the terms: what the tokenizer minimises, then what is only measured.
    pub(super) fn terms(section: &AdversarialSection) -> [(&'static str, f64); 5] {
        [
            ("adversarial", section.weight),
            ("feature_matching", section.feature_matching),
            ("discriminator", 0.0),
            ("lecam", 0.0),
            (PATCHES_RIGHT, 0.0),
        ]
    }

    /// Whether the discriminator takes part in `step`, counted from 0.
    pub(super) fn takes_part(&self, step: u64) -> bool {
        step >= self.section.start_step as u64
    }

    /// How far both weights have risen in `step`, 0 to 1.
    fn ramp(&self, step: u64) -> f64 {
        let since = (step - self.section.start_step as u64 + 1) as f64;
        (since / self.section.ramp_steps.max(1) as f64).min(1.0)
    }

    /// The values of [`Self::terms`] and the discriminator's gradients, which no term passes on. Before the start all
    /// terms are 0, and there are no gradients.
    ///
    /// # Shapes
    /// - `images`, `reconstruction`: `[batch, height, width, channels]`
    pub(super) fn judge(
        &self,
        step: u64,
        images: Tensor<4>,
        reconstruction: Tensor<4>,
    ) -> (Vec<LossTerm>, Option<AdversaryGradients>) {
        let named = |values: [Tensor<1>; 5]| {
            let names = Self::terms(&self.section).map(|(name, _)| name);
            names.into_iter().zip(values).map(|(name, value)| LossTerm { name, value }).collect()
        };
        if !self.takes_part(step) {
            let zero = Tensor::<1>::from_inner(Tensor::zeros([1], &self.means.device()));
            return (named([0; 5].map(|_| zero.clone())), None);
        }
        let [batch, height, width, _] = images.dims();
        let (real, fake) = if self.section.augment {
            let augment = DiffAugment::draw(self.seed, step, batch, [height, width]);
            (augment.apply(images.inner()), augment.apply(reconstruction))
        } else {
            (images.inner(), reconstruction)
        };
        let both = Tensor::cat(vec![real, fake.clone().inner()], 0);
        let Judgement { logits, features } = self.trainee.module.judge(Tensor::from_inner(both));
        let [of_real, of_fake] = halves(logits);
        let loss = self.loss.of_discriminator(of_real.clone(), of_fake.clone());
        let means = Tensor::from_inner(self.means.clone());
        let lecam = lecam(of_real.clone(), of_fake.clone(), means);
        let total = loss.clone() + lecam.clone().mul_scalar(self.section.lecam);
        let gradients = self.trainee.gradients_of(total.backward());

        let [of_real, of_fake] = [of_real, of_fake].map(Tensor::inner);
        let right = of_real.clone().greater_scalar(0.0).float().mean()
            + of_fake.clone().lower_equal_scalar(0.0).float().mean();
        let new = Tensor::cat(vec![of_real.mean(), of_fake.mean()], 0); // [2]
        let means = self.means.clone().mul_scalar(LECAM_DECAY) + new.mul_scalar(1.0 - LECAM_DECAY);

        // What the tokenizer is told comes from frozen weights: their gradients would be computed for nothing.
        let told = self.trainee.module.clone().no_grad().judge(fake);
        let of_images = features.into_iter().map(|features| {
            let [real, _] = halves(features.inner());
            Tensor::from_inner(real)
        });
        let matching = feature_matching(of_images.collect(), told.features);
        let ramp = self.ramp(step);
        let values = [
            self.loss.of_decoder(told.logits).mul_scalar(ramp),
            matching.mul_scalar(ramp),
            Tensor::from_inner(loss.inner()),
            Tensor::from_inner(lecam.inner()),
            Tensor::from_inner(right.mul_scalar(0.5)),
        ];
        let norm = gradients.norm();
        (named(values), Some(AdversaryGradients { gradients, norm, means }))
    }

    /// Updates the discriminator. `rate` is the factor of the schedule, 0 to 1; gradients are clipped to the global
    /// norm `clip`, unless that is 0.
    pub(super) fn apply(&mut self, gradients: AdversaryGradients, rate: f64, clip: f64) {
        let AdversaryGradients { mut gradients, norm, means } = gradients;
        if let Some(norm) = norm.filter(|_| clip > 0.0) {
            gradients.clip(norm, clip);
        }
        self.trainee.apply(gradients, rate * self.section.learning_rate);
        self.means = means;
        self.updates += 1;
    }

    /// Activations that a pass keeps, for each image of `size` pixels a side.
    pub(super) fn activations(&self, size: usize) -> usize {
        // Of the decoder's pass and of its own, which sees images and reconstructions.
        3 * self.trainee.module.activations(size)
    }
}

/// A batch of images and as many reconstructions, apart.
fn halves(both: Tensor<4>) -> [Tensor<4>; 2] {
    let [two, ..] = both.dims();
    let batch = two / 2;
    [0, batch].map(|first| both.clone().narrow(0, first, batch))
}

impl Trained for Adversary {
    fn n_parameters(&self) -> usize {
        self.trainee.n_parameters()
    }

    fn save(&self, state: &mut ResumeState) -> Result<()> {
        self.trainee.save(state)?;
        // A whole number below 2^24, which f32 holds exactly.
        let updates = NamedTensor::new(UPDATES, vec![1], vec![self.updates as f32])?;
        state.insert(PREFIX, vec![updates, NamedTensor::from_tensor(MEANS, &self.means)?])
    }

    /// It has updates of its own, since it may have started later.
    fn restore(&mut self, state: &mut ResumeState, _updates: u64, device: &Device) -> Result<()> {
        let updates = state.take_one(&format!("{PREFIX}{UPDATES}"), &[1])?;
        self.updates = updates.data.first().map_or(0, |updates| *updates as u64);
        let means = state.take_one(&format!("{PREFIX}{MEANS}"), &[2])?;
        self.means = means.to_tensor(device)?;
        self.trainee.restore(state, self.updates, device)
    }
}
