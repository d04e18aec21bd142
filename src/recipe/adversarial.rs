//! The recipe's section on the adversarial terms of stage 1.

use serde::{Deserialize, Serialize};

use self::Adversarial::{Hinge, NonSaturating};
use crate::discriminator::AdversarialLoss;
use crate::error::{Error, Result};
use crate::keys::{AboveZero, MOST_STEPS, section};

/// The loss of discriminator and decoder, if there is a discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversarial {
    /// There is no discriminator.
    None,
    /// See [`AdversarialLoss::Hinge`].
    Hinge,
    /// See [`AdversarialLoss::NonSaturating`].
    NonSaturating,
}

impl Adversarial {
    /// The loss; `None` without a discriminator.
    pub fn loss(self) -> Option<AdversarialLoss> {
        match self {
            Self::None => None,
            Self::Hinge => Some(AdversarialLoss::Hinge),
            Self::NonSaturating => Some(AdversarialLoss::NonSaturating),
        }
    }
}

section! {
    /// The adversarial terms of the loss of stage 1.
    pub struct AdversarialSection, prefix "vqvae.adversarial." {
        /// The loss: `hinge`, or `non-saturating` (cross-entropy); `none` trains no discriminator.
        loss: Adversarial = Adversarial::None, resume Refused;
        /// Channels of the discriminator's first convolution, doubled at each of its levels. With 32 it takes
        /// less than half of the time.
        width: usize, by loss |_| 64,
            only loss [Hinge, NonSaturating], allowed "multiples of 16 up to 1024", resume Refused;
        /// The weight of the adversarial term. It is fixed: an adaptive one follows the gradient of the last layer and
        /// did worse in published comparisons.
        weight: f64, by loss |_| 0.1,
            only loss [Hinge, NonSaturating], allowed 0.0..=1000.0, resume Told;
        /// The weight of feature matching: the mean absolute difference between the discriminator's activations for
        /// images and for their reconstructions.
        feature_matching: f64, by loss |_| 0.5,
            only loss [Hinge, NonSaturating], allowed 0.0..=1000.0, resume Told;
        /// The step at which the discriminator's training starts; 0 is the first.
        start_step: usize, by loss |_| 750,
            only loss [Hinge, NonSaturating], allowed 0..=MOST_STEPS, resume Refused;
        /// Steps over which both weights rise from 0 after the start.
        ramp_steps: usize, by loss |_| 250,
            only loss [Hinge, NonSaturating], allowed 0..=MOST_STEPS, resume Told;
        /// The share of a batch that the discriminator sees and its terms are computed on, at least one image: which ones
        /// is random, because batches are. A smaller share costs less time.
        share: f64, by loss |_| 1.0,
            only loss [Hinge, NonSaturating], allowed 0.0..=1.0, resume Told;
        /// The discriminator's peak learning rate, with the tokenizer's schedule.
        learning_rate: f64, by loss |_| 5e-4,
            only loss [Hinge, NonSaturating], allowed AboveZero(10.0), resume Told;
        /// The decay of the discriminator's first moments.
        beta1: f64, by loss |_| 0.9,
            only loss [Hinge, NonSaturating], allowed 0.0..1.0, resume Told;
        /// The decay of its second moments. A shorter memory than Adam's usual .999 lets it follow a decoder that
        /// changes.
        beta2: f64, by loss |_| 0.99,
            only loss [Hinge, NonSaturating], allowed 0.0..1.0, resume Told;
        /// The weight of LeCAM (Tseng et al. 2021), which keeps the discriminator's logits near their running means:
        /// for few images.
        lecam: f64, by loss |_| 0.001,
            only loss [Hinge, NonSaturating], allowed 0.0..=1000.0, resume Told;
        /// Whether the discriminator sees images and reconstructions through DiffAugment (Zhao et al. 2020): changed
        /// colours, shifted, and with a square cut out. For few images.
        augment: bool, by loss |_| true,
            only loss [Hinge, NonSaturating], resume Told;
    }
}

impl AdversarialSection {
    /// Refuses values out of range, and keys that `loss` would ignore.
    pub(super) fn validate(&self) -> Result<()> {
        self.check_keys()?;
        let width = self.width;
        if self.loss.loss().is_some()
            && (!width.is_multiple_of(16) || !(16..=1024).contains(&width))
        {
            return Err(Error::invalid(format!(
                "vqvae.adversarial.width is {width}, allowed are multiples of 16 up to 1024"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_width_that_the_norms_cannot_divide_is_refused() {
        let check = |width: usize| {
            let section = serde_json::json!({ "loss": "hinge", "width": width });
            serde_json::from_value::<AdversarialSection>(section).unwrap().validate()
        };
        for width in [16, 32, 64, 96, 1024] {
            check(width).unwrap();
        }
        for width in [0, 8, 40, 2048] {
            let message = check(width).unwrap_err().to_string();
            assert!(message.contains(&format!("width is {width}, allowed are multiples of 16")));
        }
    }
}
