//! The precision of the CPU device's matrix products: one choice for the whole process, which is here alone. The kernels
//! get it with every call that multiplies, and keep it for the backward pass.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use vqgen_kernels as kernels;

use crate::error::{Error, Result};

/// What the operands of a matrix product are rounded to. Weights, activations and sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// To nothing: 24 bits of mantissa.
    #[default]
    F32,
    /// To bf16: 8 bits of mantissa, the range of f32.
    Bf16,
}

impl Precision {
    /// As flags and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::F32, Self::Bf16].into_iter().find(|one| one.name() == text);
        known.ok_or_else(|| {
            Error::invalid(format!("{text:?} is no precision (allowed are f32 and bf16)"))
        })
    }
}

/// Whether products round their operands to bf16.
static ROUNDS: AtomicBool = AtomicBool::new(false);

/// Sets the precision of every operation of the CPU device in this process that is called from now on.
///
/// # Errors
/// bf16 on a processor that has no instructions for it.
pub fn set_precision(precision: Precision) -> Result<()> {
    let rounds = precision == Precision::Bf16;
    if rounds && kernels::Precision::bf16().is_none() {
        return Err(Error::invalid(
            "bf16 is not possible on this CPU: it has no instructions for products of bf16, which are AVX512-BF16 or \
             AMX on x86 (leave --precision at f32)",
        ));
    }
    ROUNDS.store(rounds, Ordering::Relaxed);
    Ok(())
}

/// As the kernels take it.
pub(super) fn in_use() -> kernels::Precision {
    let bf16 = ROUNDS.load(Ordering::Relaxed).then(kernels::Precision::bf16).flatten();
    bf16.unwrap_or(kernels::Precision::F32)
}
