//! Whether adversarial training goes well, and what to change where it does not. The log has the numbers; this knows
//! which of them are bad.

use super::adversary::PATCHES_RIGHT;
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::Result;
use crate::recipe::VqvaeSection;

/// A discriminator that judges more patches right has won: its gradient says nothing any more.
const WON: f64 = 0.95;
/// A reconstruction error that is this many times that before the start has worsened by more than crisp edges cost.
const WORSENED: f64 = 1.5;
/// Name of the error before the start in a checkpoint.
const BEFORE: &str = "extra.nmse_before";

/// What has been seen, and said.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The validation error at the last validation before the discriminator started.
    before: Option<f32>,
    /// The share of patches that the discriminator judged right in the last log interval.
    right: Option<f64>,
    told_of_victory: bool,
    told_of_error: bool,
}

impl Health {
    /// Takes note of the means of a log interval.
    pub(super) fn logged(&mut self, means: &[(&'static str, f64)]) {
        let right = means.iter().find(|(name, _)| *name == PATCHES_RIGHT);
        self.right = right.map(|(_, share)| *share);
    }

    /// Takes note of a validation after `step` steps with the normalised error `nmse`, and returns what a user must
    /// know, each warning once.
    pub(super) fn validated(
        &mut self,
        section: &VqvaeSection,
        step: u64,
        nmse: f64,
    ) -> Vec<String> {
        let adversarial = &section.adversarial;
        if adversarial.loss.loss().is_none() {
            return Vec::new();
        }
        if step <= adversarial.start_step as u64 {
            self.before = Some(nmse as f32);
            return Vec::new();
        }
        let mut advice = Vec::new();
        let ramped = adversarial.start_step as u64 + adversarial.ramp_steps as u64;
        if let Some(right) = self.right.filter(|right| *right > WON)
            && step > ramped
            && !self.told_of_victory
        {
            self.told_of_victory = true;
            advice.push(format!(
                "the discriminator wins: it judged {:.0} % of the patches right up to step {step}, and its gradient helps \
                 no more; lower vqvae.adversarial.learning_rate (it is {}), or raise vqvae.adversarial.lecam (it is {}){}",
                100.0 * right,
                adversarial.learning_rate,
                adversarial.lecam,
                if adversarial.augment { "" } else { ", or set vqvae.adversarial.augment" }
            ));
        }
        if let Some(before) = self.before.map(f64::from).filter(|before| nmse > WORSENED * before)
            && !self.told_of_error
        {
            self.told_of_error = true;
            advice.push(format!(
                "the reconstruction error is {nmse:.4} at step {step} and was {before:.4} before the discriminator started; \
                 lower vqvae.adversarial.weight (it is {}), or set a later vqvae.adversarial.start_step (it is {})",
                adversarial.weight, adversarial.start_step
            ));
        }
        advice
    }

    /// Saves the error before the start to a checkpoint, once it is known.
    pub(super) fn save(&self, state: &mut ResumeState) -> Result<()> {
        let Some(before) = self.before else { return Ok(()) };
        state.insert("", vec![NamedTensor::new(BEFORE, vec![1], vec![before])?])
    }

    /// Restores it.
    pub(super) fn restore(&mut self, state: &mut ResumeState) -> Result<()> {
        if state.has(BEFORE) {
            self.before = state.take_one(BEFORE, &[1])?.data.first().copied();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Adversarial, AdversarialSection};

    fn section(loss: Adversarial) -> VqvaeSection {
        let adversarial = AdversarialSection {
            loss,
            weight: 0.1,
            learning_rate: 5e-4,
            lecam: 0.001,
            start_step: 100,
            ramp_steps: 10,
            ..AdversarialSection::default()
        };
        VqvaeSection { adversarial, ..VqvaeSection::default() }
    }

    #[test]
    fn a_discriminator_that_wins_and_an_error_that_rises_are_told_once() {
        let section = section(Adversarial::Hinge);
        let mut health = Health::default();
        assert!(health.validated(&section, 100, 0.1).is_empty());
        health.logged(&[("adversarial", 9.0), (PATCHES_RIGHT, 0.96)]);
        // Still rising, and an error that is to be expected.
        assert!(health.validated(&section, 110, 0.14).is_empty());
        let told = health.validated(&section, 120, 0.16);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("judged 96 % of the patches right up to step 120"), "{told:?}");
        assert!(told[0].contains("learning_rate (it is 0.0005)"), "{told:?}");
        assert!(told[1].contains("0.1600 at step 120 and was 0.1000 before"), "{told:?}");
        assert!(health.validated(&section, 130, 0.2).is_empty());
    }

    #[test]
    fn nothing_is_said_where_all_is_well_or_there_is_no_discriminator() {
        let mut health = Health::default();
        health.logged(&[(PATCHES_RIGHT, 0.7)]);
        let with = section(Adversarial::Hinge);
        assert!(health.validated(&with, 90, 0.1).is_empty());
        assert!(health.validated(&with, 200, 0.12).is_empty());
        health.logged(&[(PATCHES_RIGHT, 1.0)]);
        assert!(health.validated(&section(Adversarial::None), 200, 9.0).is_empty());
    }
}
