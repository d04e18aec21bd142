//! The precision of GEMMs as a recipe asks for it; which one a processor has is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What GEMM operands are rounded to on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// bf16 where the processor has instructions for it, f32 elsewhere.
    Auto,
    /// Not rounded.
    F32,
    /// Rounded to bf16.
    Bf16,
}

impl PrecisionChoice {
    /// Its spelling in flags and files.
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PrecisionChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Auto, Self::F32, Self::Bf16].into_iter().find(|one| one.name() == text);
        known.ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a precision (allowed are auto, f32 and bf16)"))
        })
    }
}
