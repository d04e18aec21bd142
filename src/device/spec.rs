//! The values of `--device`, as text and parsed. It knows no backend and does not look at the machine.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A device by name, numbered as in `vqgen devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first hardware GPU, or else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first hardware GPU, or that of an index, through the API preferred on this machine.
    Gpu(Option<usize>),
    /// An NVIDIA GPU through CUDA.
    Cuda(usize),
    /// A GPU through Vulkan and SPIR-V.
    Vulkan(usize),
    /// A GPU through Metal.
    Metal(usize),
}

/// The forms of `--device`, for messages and help.
pub(super) const DEVICE_FORMS: &str = "auto, cpu, gpu, gpu:N, cuda:N, vulkan:N or metal:N";

/// A larger number is a typo: no machine has so many.
const MOST_DEVICES: usize = 1024;

impl DeviceSpec {
    /// The API and the cargo feature that this build lacks for the device, if any.
    pub(super) fn missing_feature(self) -> Option<(&'static str, &'static str)> {
        let (compiled, api, feature) = match self {
            Self::Auto | Self::Cpu => return None,
            Self::Gpu(_) => (cfg!(any(feature = "wgpu", feature = "cuda")), "GPU support", "wgpu"),
            Self::Cuda(_) => (cfg!(feature = "cuda"), "CUDA", "cuda"),
            Self::Vulkan(_) => (cfg!(feature = "vulkan"), "SPIR-V for Vulkan", "vulkan"),
            Self::Metal(_) => (cfg!(feature = "metal"), "Metal", "metal"),
        };
        (!compiled).then_some((api, feature))
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(index)) => write!(f, "gpu:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Metal(index) => write!(f, "metal:{index}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown =
            || Error::invalid(format!("unknown device {text:?}, allowed are {DEVICE_FORMS}"));
        let (kind, index) = match text.split_once(':') {
            None => (text, None),
            Some((kind, index)) => match index.parse::<usize>() {
                Ok(number) if number < MOST_DEVICES => (kind, Some(number)),
                _ => return Err(unknown()),
            },
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("gpu", index) => Ok(Self::Gpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index.unwrap_or(0))),
            ("vulkan", index) => Ok(Self::Vulkan(index.unwrap_or(0))),
            ("metal", index) => Ok(Self::Metal(index.unwrap_or(0))),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_a_round_trip() {
        for text in ["auto", "cpu", "gpu", "gpu:3", "cuda:0", "vulkan:1", "metal:2"] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
    }

    #[test]
    fn other_text_is_refused_with_the_forms_allowed() {
        for text in ["", "cpu:0", "auto:1", "gpu:", "gpu:-1", "gpu:x", "gpu:99999999", "tpu", "GPU"]
        {
            let message = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(message.contains("gpu:N"), "{text:?}: {message}");
        }
    }
}
