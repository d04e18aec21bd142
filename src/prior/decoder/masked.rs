//! Passes of a masked prior: every position is computed anew in each, as all see what has become known.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::prior::{Condition, Conditions, Gpt};

/// A masked network that fills in codes.
#[derive(Debug)]
pub struct MaskedDecoder<'a> {
    gpt: &'a Gpt,
}

impl<'a> MaskedDecoder<'a> {
    /// The network must not be tracking gradients (`.valid()`).
    pub fn new(gpt: &'a Gpt) -> Self {
        Self { gpt }
    }

    /// The network.
    pub fn gpt(&self) -> &'a Gpt {
        self.gpt
    }

    /// The logits of every code, given those that are known. Synchronises with the device.
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - known: `[batch, n_codes]`
    /// - output: `[batch, n_codes, codebook_size]`
    ///
    /// # Errors
    /// A device that does not return its result.
    pub fn logits(&self, conditions: &[Condition], known: &[Option<u16>]) -> Result<Vec<f32>> {
        let (config, device): (_, Device) = (self.gpt.config(), self.gpt.device());
        let mask = config.mask_token() as i32;
        let seen: Vec<i32> = known.iter().map(|code| code.map_or(mask, i32::from)).collect();
        let shape = [conditions.len(), config.n_codes()];
        let seen = Tensor::from_data(TensorData::new(seen, shape), &device);
        let conditions = Conditions::new(conditions, config, &device);
        let logits = self.gpt.masked_logits(&conditions, seen, None).into_data(); // sync
        logits.try_into_vec().map_err(|error| {
            Error::invalid(format!("cannot sample: the device did not return its result: {error}"))
        })
    }
}
