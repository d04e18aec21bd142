//! Precision of GEMM operands: an argument of every kernel that multiplies matrices, kept for its backward pass.

use super::instructions::Instructions;

/// What the operands of a GEMM are rounded to. Weights, activations and sums are f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Not rounded: 24 bits of mantissa.
    F32,
    /// bf16: 8 bits of mantissa, the range of f32. Made by [`Precision::bf16`].
    Bf16(HasBf16),
}

/// Proof that the processor multiplies bf16; made by [`Precision::bf16`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HasBf16(());

impl Precision {
    /// `None` on a processor without bf16 instructions, or where `VQGEN_INSTRUCTIONS` rules them out.
    pub fn bf16() -> Option<Self> {
        (Instructions::in_use() >= Instructions::Avx512Bf16).then_some(Self::Bf16(HasBf16(())))
    }

    /// That with which GEMMs take the least time.
    pub fn fastest() -> Self {
        let bf16 = Self::bf16().filter(|_| Instructions::in_use().gains_from_bf16());
        bf16.unwrap_or(Self::F32)
    }
}
