//! Divergence: a loss or a gradient that is NaN or infinite, the message about it, and how many steps with one may be
//! skipped.

use burn::tensor::Tensor;

use crate::error::{Error, Result};

/// The last number of every step: the global gradient norm before clipping.
pub(super) const GRADIENT_NORM: &str = "gradient_norm";

/// A number of a step that is not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NonFinite {
    /// Which one: `reconstruction`, `gradient_norm`.
    pub term: &'static str,
    /// NaN or an infinity.
    pub value: f64,
}

impl NonFinite {
    /// The first of `terms` that is not finite: those of `names`, and the gradient norm. Synchronises with the device.
    ///
    /// # Shapes
    /// - `terms`: `[names + 1]`
    pub(super) fn first(
        names: impl Iterator<Item = &'static str>,
        terms: &Tensor<1>,
    ) -> Option<Self> {
        let values = terms.to_data_as::<f32>(); // sync
        let mut pairs = names.chain([GRADIENT_NORM]).zip(values.iter::<f32>());
        let (term, value) = pairs.find(|(_, value)| !value.is_finite())?;
        Some(Self { term, value: f64::from(value) })
    }

    /// The error that ends training. It occurred within the `within` steps up to `step`.
    pub(super) fn error(&self, section: &str, step: u64, rate: f64, within: u64) -> Error {
        let at = if within > 1 {
            format!("between steps {} and {step}", step + 1 - within)
        } else {
            format!("at step {step}")
        };
        Error::invalid(format!(
            "the {} became {} {at} (learning rate {rate:.2e}): lower {section}.learning_rate or \
             {section}.gradient_clip, or set {section}.skip_non_finite to skip up to that many such steps, and \
             resume from the last checkpoint with --resume (or start again, if there was none)",
            self.term.replace('_', " "),
            self.value
        ))
    }
}

/// How many steps may be skipped, and how many were.
#[derive(Debug)]
pub(super) struct SkipBudget {
    most: u64,
    used: u64,
}

impl SkipBudget {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most as u64, used: 0 }
    }

    pub(super) fn restore(&mut self, used: u64) {
        self.used = used;
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Skips `step` and returns the message about it.
    ///
    /// # Errors
    /// The budget is exhausted.
    pub(super) fn pass_over(
        &mut self,
        found: &NonFinite,
        section: &str,
        step: u64,
        rate: f64,
    ) -> Result<String> {
        if self.used >= self.most {
            return Err(found.error(section, step, rate, 1));
        }
        self.used += 1;
        Ok(format!(
            "the {} became {} at step {step} (learning rate {rate:.2e}); the step is skipped, number {} of at most {}",
            found.term.replace('_', " "),
            found.value,
            self.used,
            self.most
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_is_an_error_that_says_what_to_try() {
        let found = NonFinite { term: "gradient_norm", value: f64::INFINITY };
        let mut budget = SkipBudget::new(1);
        let told = budget.pass_over(&found, "vqvae", 7, 1e-3).unwrap();
        assert!(told.contains("gradient norm became inf at step 7"), "{told}");
        let error = budget.pass_over(&found, "vqvae", 8, 1e-3).unwrap_err().to_string();
        for part in ["at step 8", "learning rate 1.00e-3", "vqvae.skip_non_finite", "--resume"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(budget.used(), 1);
    }
}
