//! The precision of GEMM operands on the CPU device: one setting for the whole process, held here alone. Every kernel
//! that multiplies matrices takes it as an argument, and keeps it for the backward pass.

use std::sync::atomic::{AtomicBool, Ordering};

use vqgen_kernels as kernels;

use crate::error::{Error, Result};

/// What the operands of a GEMM are rounded to. Weights, activations and sums are f32 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not rounded: 24 bits of mantissa.
    #[default]
    F32,
    /// bf16: 8 bits of mantissa, the range of f32.
    Bf16,
}

impl Precision {
    /// The fastest on this processor: bf16 with AMX, or with AVX512-BF16 on processors that are not Intel's.
    pub fn fastest() -> Self {
        match kernels::Precision::fastest() {
            kernels::Precision::F32 => Self::F32,
            kernels::Precision::Bf16(_) => Self::Bf16,
        }
    }

    /// Whether this processor has instructions for it.
    pub fn is_available(self) -> bool {
        self == Self::F32 || kernels::Precision::bf16().is_some()
    }

    /// Its spelling in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Whether GEMM operands are rounded to bf16.
static ROUNDS: AtomicBool = AtomicBool::new(false);

/// Sets the precision of all subsequent operations of the CPU device in this process.
///
/// # Errors
/// bf16 on a processor without instructions for it.
pub fn set_precision(precision: Precision) -> Result<()> {
    let rounds = precision == Precision::Bf16;
    if !precision.is_available() {
        return Err(Error::invalid(
            "bf16 is not available on this CPU: it has neither AVX512-BF16 nor AMX (leave --precision at auto, or take f32)",
        ));
    }
    ROUNDS.store(rounds, Ordering::Relaxed);
    Ok(())
}

/// As an argument for the kernels.
pub(super) fn in_use() -> kernels::Precision {
    let bf16 = ROUNDS.load(Ordering::Relaxed).then(kernels::Precision::bf16).flatten();
    bf16.unwrap_or(kernels::Precision::F32)
}
