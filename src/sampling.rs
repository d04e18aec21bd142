//! Sampling: draws codes from the logits of a model it knows only as [`NextCode`], one by one, or as [`FillCodes`], many in
//! a pass. It has no weights, images or files.
//!
//! Image `i` of a seed is the same whatever is sampled with it. Its randomness comes from a stream of its own, and
//! every forward pass has the same number of rows ([`SamplingConfig::lanes`], the last one padded) unless the model
//! guarantees that rows do not depend on their number: the rounding of a GEMM may, and rounding occasionally decides
//! about a code.

mod config;
mod device;
mod fill;
mod generate;
mod host;

use burn::tensor::{Device, Int, Tensor};

use crate::error::Result;

pub use config::{GuidanceSchedule, SamplingConfig};
pub use fill::{FillCodes, fill};
pub use generate::{Request, generate};

/// A model of the codes of images.
pub trait CodeModel {
    /// What a sequence can be asked to show.
    type Condition: Clone;

    /// Number of codes, the width of the logits.
    fn codebook_size(&self) -> usize;

    /// Codes per sequence.
    fn n_codes(&self) -> usize;

    /// Refuses a condition that the model does not know.
    ///
    /// # Errors
    /// What it was asked for and what it knows.
    fn check(&self, condition: &Self::Condition) -> Result<()>;

    /// `condition` without what it asks for, which guidance moves away from; `None` if it asks for nothing.
    fn without(&self, condition: &Self::Condition) -> Option<Self::Condition>;
}

/// A model that continues a batch of sequences, code by code.
pub trait NextCode: CodeModel {
    /// Whether each row of a forward pass is bitwise independent of the number of rows.
    fn has_independent_rows(&self) -> bool {
        false
    }

    /// The stepping interface.
    fn steps(&mut self) -> Steps<'_, Self::Condition>;
}

/// Where a model computes: decides whether logits and codes are slices or tensors.
pub enum Steps<'a, C> {
    /// On the host: slices.
    Host(&'a mut dyn HostSteps<C>),
    /// On a device that the host would have to synchronise with: tensors.
    Device(&'a mut dyn DeviceSteps<C>),
}

/// A model that computes on the host.
pub trait HostSteps<C> {
    /// Resets the cache and feeds the start of every sequence; returns the logits of the next code.
    ///
    /// # Shapes
    /// - conditions: `[batch]`
    /// - given: `[batch, n]`, the known codes
    /// - output: `[batch, codebook_size]`
    fn start(&mut self, conditions: &[C], given: &[usize]) -> Vec<f32>;

    /// Appends a code to every sequence; returns the logits of the next one.
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
