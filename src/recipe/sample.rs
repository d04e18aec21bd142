//! The recipe's section on sampling: the defaults of `sample`.

use crate::error::Result;
use crate::keys::{AboveZero, section};
use crate::sampling::GuidanceSchedule;

section! {
    /// How images are sampled from the prior and arranged.
    pub struct SampleSection, prefix "sample." {
        /// Total images.
        count: usize = 72, allowed 1..=1_000_000, resume Silent;
        /// Images per row of the grid; all of a row are of one class.
        columns: usize = 8, allowed 1..=1_000, resume Silent;
        /// Divides the logits: below 1 sharper, above 1 flatter, 0 is greedy.
        temperature: f64 = 1.0, allowed 0.0..=100.0, resume Silent;
        /// Top-k: only the k most probable codes; 0 keeps all.
        top_k: usize = 0, allowed 0..=65_536, resume Silent;
        /// Top-p: only the most probable codes that together reach this probability; 1 keeps all.
        top_p: f64 = 0.95, allowed AboveZero(1.0), resume Silent;
        /// Min-p: only codes at least this fraction as probable as the most probable one; 0 keeps all.
        min_p: f64 = 0.0, allowed 0.0..1.0, resume Silent;
        /// Classifier-free guidance: 1 samples the class as trained, above 1 exaggerates it, 0 ignores it. Without
        /// classes there is none.
        guidance: f64 = 2.0, allowed 0.0..=100.0, resume Silent;
        /// Whether guidance is the same for all codes, `constant`, or rises from none at the first to the whole at the last,
        /// `cosine`.
        guidance_schedule: GuidanceSchedule = GuidanceSchedule::Constant, resume Silent;
        /// Draw each image this many times and keep the one that the prior itself finds most probable.
        best_of: usize = 1, allowed 1..=1_000, resume Silent;
        /// Passes in which a masked prior draws all codes; an autoregressive one has a pass for each code.
        passes: usize = 12, allowed 1..=65_536, resume Silent;
        /// Every pixel of a sample is enlarged to a square of this many pixels per side.
        scale: usize = 2, allowed 1..=64, resume Silent;
    }
}

impl SampleSection {
    /// Refuses values out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        self.check_keys()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_top_p_of_zero_is_refused_and_a_temperature_of_zero_is_not() {
        let zero_p = SampleSection { top_p: 0.0, ..SampleSection::default() };
        assert!(zero_p.validate().unwrap_err().to_string().contains("sample.top_p is 0"));
        let greedy = SampleSection { temperature: 0.0, ..SampleSection::default() };
        greedy.validate().unwrap();
    }
}
