//! The seeds of one forward pass's dropout masks.

use crate::ops::Dropout;
use crate::rng::Stream;

/// Hands out one seed a place where dropout acts, in the order of the forward pass.
#[derive(Debug, Clone)]
pub struct DropoutSeeds(Stream);

impl DropoutSeeds {
    /// Seeds from a stream keyed by the optimizer step and the micro batch.
    pub fn new(stream: Stream) -> Self {
        Self(stream)
    }

    pub(super) fn draw(&mut self, probability: f64) -> Dropout {
        Dropout { probability, seed: self.0.bits() }
    }
}
