//! The precision of the CPU device's matrix products.

use std::str::FromStr;

use super::cpu;
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

/// Sets the precision of every matrix product of the CPU device in this process from now on.
///
/// # Errors
/// bf16 on a processor that has no instructions for it.
pub fn set_precision(precision: Precision) -> Result<()> {
    if cpu::set_precision(precision) {
        return Ok(());
    }
    Err(Error::invalid(
        "bf16 is not possible on this CPU: it has no instructions for products of bf16, which are AVX512-BF16 or AMX \
         on x86 (leave --precision at f32)",
    ))
}
