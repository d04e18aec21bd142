//! The seeds of one forward pass's dropout masks.

use burn::tensor::Tensor;

use crate::ops::{Dropout, dropout};
use crate::rng::Stream;

/// One seed per dropout, in the order of the forward pass.
#[derive(Debug, Clone)]
pub struct DropoutSeeds(Stream);

impl DropoutSeeds {
    /// Seeds from a stream keyed by the optimizer step and the micro batch.
    pub fn new(stream: Stream) -> Self {
        Self(stream)
    }

    fn draw(&mut self, probability: f64) -> Dropout {
        Dropout { probability, seed: self.0.bits() }
    }
}

/// The dropouts of a forward pass, or none.
pub(super) struct Dropouts(Option<(DropoutSeeds, f64)>);

impl Dropouts {
    pub(super) fn new(seeds: Option<DropoutSeeds>, probability: f64) -> Self {
        Self(seeds.map(|seeds| (seeds, probability)))
    }

    /// Drops nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The next dropout of the pass.
    pub(super) fn draw(&mut self) -> Option<Dropout> {
        let (seeds, probability) = self.0.as_mut()?;
        Some(seeds.draw(*probability))
    }

    /// Applies the next dropout of the pass to `x`.
    pub(super) fn apply(&mut self, x: Tensor<2>) -> Tensor<2> {
        match self.draw() {
            Some(drop) => dropout(x, drop),
            None => x,
        }
    }
}
