//! What the operands of matrix products are rounded to: an argument of every kernel that multiplies, kept for its
//! backward pass.

use super::instructions::Instructions;

/// What the operands of a matrix product are rounded to. Weights, activations and sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// To nothing: 24 bits of mantissa.
    F32,
    /// To bf16: 8 bits of mantissa, the range of f32. [`Precision::bf16`] makes one.
    Bf16(HasBf16),
}

/// The processor multiplies bf16; only [`Precision::bf16`] says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HasBf16(());

impl Precision {
    /// `None` on a processor that has no instructions for it, or where they may not be used.
    pub fn bf16() -> Option<Self> {
        (Instructions::in_use() >= Instructions::Avx512Bf16).then_some(Self::Bf16(HasBf16(())))
    }
}
