//! Sampling: chooses codes one after the other from the logits of a model it knows only as [`NextCode`].
//! It has no weights, no images and no files; the same loop serves any model that can continue a sequence.
//!
//! Image `i` of a seed is the same whatever is sampled with it. Its randomness comes from a stream of its
//! own, and every pass over the model has the same number of rows ([`SamplingConfig::lanes`], the last pass
//! filled up) unless the model says that rows do not depend on their number: the last bits of a matrix product
//! may, and a last bit decides about a code once in a while.

mod config;
mod device;
mod generate;
mod host;

use burn::tensor::{Device, Int, Tensor};

use crate::error::Result;

pub use config::SamplingConfig;
pub use generate::{Request, generate};

/// A model that continues a batch of sequences code by code.
pub trait NextCode {
    /// What a sequence can be asked to show.
    type Condition: Clone;

    /// Number of codes, the width of the logits.
    fn codebook_size(&self) -> usize;

    /// Codes of a whole sequence.
    fn n_codes(&self) -> usize;

    /// Refuses a condition that the model does not know.
    ///
    /// # Errors
    /// What it was asked for and what it knows.
    fn check(&self, condition: &Self::Condition) -> Result<()>;

    /// `condition` without what it asks for, which guidance moves away from; `None` if it asks for nothing.
    fn without(&self, condition: &Self::Condition) -> Option<Self::Condition>;

    /// Whether a row of a pass is the same, to the last bit, whatever the number of rows.
    fn has_independent_rows(&self) -> bool {
        false
    }

    /// How it is asked for one code after the other.
    fn steps(&mut self) -> Steps<'_, Self::Condition>;
}

/// Where a model computes, which decides what its logits and codes pass through.
pub enum Steps<'a, C> {
    /// In this process's memory: slices.
    Host(&'a mut dyn HostSteps<C>),
    /// On a device that the host would have to wait for: tensors.
    Device(&'a mut dyn DeviceSteps<C>),
}

/// A model that computes in this process's memory.
pub trait HostSteps<C> {
    /// Forgets what it has seen and reads the start of every sequence; returns the logits of the next code.
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - given: `[batch, n]`, the codes that are known
    /// - output: `[batch, codebook_size]`
    fn start(&mut self, conditions: &[C], given: &[usize]) -> Vec<f32>;

    /// Adds one code to every sequence; returns the logits of the next one.
    ///
    /// # Shapes
    /// - codes: `[batch]`
    /// - output: `[batch, codebook_size]`
    fn next(&mut self, codes: &[usize]) -> Vec<f32>;
}

/// A model on any other device.
pub trait DeviceSteps<C> {
    /// Where its tensors are.
    fn device(&self) -> Device;

    /// As [`HostSteps::start`].
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - given: `[batch, n]`
    /// - output: `[batch, codebook_size]`
    fn start(&mut self, conditions: &[C], given: &[usize]) -> Tensor<2>;

    /// As [`HostSteps::next`].
    ///
    /// # Shapes
    /// - codes: `[batch]`
    /// - output: `[batch, codebook_size]`
    fn next(&mut self, codes: Tensor<1, Int>) -> Tensor<2>;
}
