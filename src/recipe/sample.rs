//! The recipe's section on sampling: what `sample` does when its flags do not say otherwise.

use serde::{Deserialize, Serialize};

use super::limits;
use crate::error::Result;

/// How images are drawn from the prior and laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSection {
    /// Images in all.
    pub count: usize,
    /// Images in a row of the grid.
    pub columns: usize,
    /// Divides the logits: below 1 safer, above 1 wilder, 0 always takes the likeliest code.
    pub temperature: f64,
    /// Only the k likeliest codes; 0 keeps all.
    pub top_k: usize,
    /// Only the likeliest codes that together have this probability; 1 keeps all.
    pub top_p: f64,
    /// Classifier-free guidance: 1 samples the class as trained, above 1 exaggerates it, 0 ignores it. Without
    /// classes there is none.
    pub guidance: f64,
    /// Every pixel of a sample becomes a square of this many pixels.
    pub scale: usize,
}

impl Default for SampleSection {
    fn default() -> Self {
        Self {
            count: 72,
            columns: 8,
            temperature: 1.0,
            top_k: 0,
            top_p: 0.95,
            guidance: 2.0,
            scale: 2,
        }
    }
}

impl SampleSection {
    /// Refuses values out of range; the message names the key.
    pub fn validate(&self) -> Result<()> {
        limits::within("sample.count", self.count, 1, 1_000_000)?;
        limits::within("sample.columns", self.columns, 1, 1_000)?;
        limits::within("sample.temperature", self.temperature, 0.0, 100.0)?;
        limits::within("sample.top_k", self.top_k, 0, 65_536)?;
        limits::positive("sample.top_p", self.top_p, 1.0)?;
        limits::within("sample.guidance", self.guidance, 0.0, 100.0)?;
        limits::within("sample.scale", self.scale, 1, 64)
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
