//! The sampling parameters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How guidance changes while an image is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuidanceSchedule {
    /// Not at all.
    #[default]
    Constant,
    /// From none at the first code to the whole at the last, by half a cosine: the first codes keep their variety.
    Cosine,
}

impl fmt::Display for GuidanceSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
        })
    }
}

/// Sampling parameters. Filters apply in the order of the fields: temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingConfig {
    /// Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy.
    pub temperature: f64,
    /// Keep only the k most probable codes; `None` for all. Ties with the last one are kept.
    pub top_k: Option<usize>,
    /// Nucleus sampling (Holtzman et al. 2020): keep only the most probable codes that together reach this probability,
    /// in (0, 1], after top-k. Ties with the last one are kept.
    pub top_p: Option<f64>,
    /// Keep only codes at least this fraction as probable as the most probable one (Nguyen et al. 2024), in [0, 1); `None`
    /// for all.
    pub min_p: Option<f64>,
    /// Scale of classifier-free guidance (Ho and Salimans 2022): logits are extrapolated from the unconditional ones by
    /// this factor. 1 is off; any other value doubles the batch.
    pub guidance: f64,
    /// How it changes from the first code to the last.
    pub guidance_schedule: GuidanceSchedule,
    /// Passes in which a model fills in all codes; one that continues sequences has a pass for each code.
    pub passes: usize,
    /// Images per batch. It can affect rounding, so derive it from the device, never from how many images are wanted.
    pub lanes: usize,
}

impl Default for SamplingConfig {
    /// The model's own distribution, in batches of 16 images: enough to occupy two cores without wasting much on a
    /// single image.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            guidance: 1.0,
            guidance_schedule: GuidanceSchedule::Constant,
            passes: 12,
            lanes: 16,
        }
    }
}

impl SamplingConfig {
    /// Refuses values that are invalid for a model of `codebook_size` codes.
    pub fn validate(&self, codebook_size: usize) -> Result<()> {
        let fail = |message: String| Err(Error::invalid(message));
        let Self { temperature, guidance, passes, lanes, .. } = *self;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return fail(format!("temperature is {temperature}, allowed are 0 (greedy) and above"));
        }
        if let Some(k) = self.top_k
            && !(1..=codebook_size).contains(&k)
        {
            return fail(format!(
                "top-k is {k}, allowed are 1 to {codebook_size}, the number of codes"
            ));
        }
        if let Some(p) = self.top_p
            && !(p > 0.0 && p <= 1.0)
        {
            return fail(format!("top-p is {p}, allowed are values above 0 up to 1 (all codes)"));
        }
        if let Some(p) = self.min_p
            && !(0.0..1.0).contains(&p)
        {
            return fail(format!("min-p is {p}, allowed are 0 (all codes) up to but not 1"));
        }
        if !(guidance >= 0.0 && guidance.is_finite()) {
            return fail(format!("guidance is {guidance}, allowed are 0 and above; 1 is off"));
        }
        if passes == 0 {
            return fail("passes is 0, allowed are 1 and above".to_owned());
        }
        if lanes == 0 {
            return fail(
                "0 images per batch cannot be sampled, allowed are 1 and above".to_string(),
            );
        }
        Ok(())
    }

    pub(super) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    pub(super) fn is_guided(&self) -> bool {
        self.guidance != 1.0
    }

    /// The scale of guidance at `step` of `steps`, from 0.
    pub(super) fn guidance_at(&self, step: usize, steps: usize) -> f64 {
        let share = match self.guidance_schedule {
            GuidanceSchedule::Constant => 1.0,
            GuidanceSchedule::Cosine => {
                let progress = step as f64 / steps.saturating_sub(1).max(1) as f64;
                0.5 - 0.5 * (std::f64::consts::PI * progress).cos()
            }
        };
        1.0 + (self.guidance - 1.0) * share
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn values_without_a_meaning_are_refused_with_the_values_allowed() {
        let refused = |change: fn(&mut SamplingConfig)| {
            let mut config = SamplingConfig::default();
            change(&mut config);
            config.validate(512).unwrap_err().to_string()
        };
        type Change = fn(&mut SamplingConfig);
        let cases: [(Change, &str); 12] = [
            (|c| c.temperature = -0.5, "temperature is -0.5, allowed are 0"),
            (|c| c.temperature = f64::NAN, "temperature is NaN"),
            (|c| c.top_k = Some(0), "top-k is 0, allowed are 1 to 512"),
            (|c| c.top_k = Some(513), "top-k is 513, allowed are 1 to 512"),
            (|c| c.top_p = Some(0.0), "top-p is 0, allowed are values above 0"),
            (|c| c.top_p = Some(1.5), "top-p is 1.5"),
            (|c| c.min_p = Some(1.0), "min-p is 1"),
            (|c| c.min_p = Some(-0.1), "min-p is -0.1"),
            (|c| c.guidance = -1.0, "guidance is -1, allowed are 0 and above"),
            (|c| c.guidance = f64::INFINITY, "guidance is inf"),
            (|c| c.passes = 0, "passes is 0"),
            (|c| c.lanes = 0, "0 images per batch"),
        ];
        for (change, expected) in cases {
            let message = refused(change);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn guidance_rises_by_half_a_cosine_or_stays() {
        let at = |guidance_schedule, step| {
            let config = SamplingConfig { guidance: 3.0, guidance_schedule, ..Default::default() };
            config.guidance_at(step, 5)
        };
        let all = |schedule| [0, 1, 2, 3, 4].map(|step| (at(schedule, step) * 1e4).round() / 1e4);
        assert_eq!(all(GuidanceSchedule::Constant), [3.0; 5]);
        // 1 + 2 (1 - cos(pi t)) / 2 at t of 0, 1/4, … 1.
        assert_eq!(all(GuidanceSchedule::Cosine), [1.0, 1.2929, 2.0, 2.7071, 3.0]);
        let one = SamplingConfig { guidance: 3.0, ..Default::default() };
        assert_eq!(one.guidance_at(0, 1), 3.0);
    }

    #[test]
    fn edges_of_the_ranges_are_allowed() {
        let config = SamplingConfig {
            temperature: 0.0,
            top_k: Some(512),
            top_p: Some(1.0),
            min_p: Some(0.0),
            guidance: 0.0,
            passes: 1,
            lanes: 1,
            ..SamplingConfig::default()
        };
        config.validate(512).unwrap();
        SamplingConfig::default().validate(2).unwrap();
    }
}
