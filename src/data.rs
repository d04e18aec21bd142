//! Files to pixels. Placeholder until the branch `data` is merged.

pub mod config;

pub use config::{DataConfig, EMBEDDED_NOTO_EMOJI};
