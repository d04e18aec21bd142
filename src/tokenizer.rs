//! The tokenizer: encoder, codebook and decoder (van den Oord et al. 2017, "Neural Discrete Representation
//! Learning"). Tensors in, tensors out; it knows no files, no images and no training loop.

mod config;

pub use config::{TokenizerConfig, TokenizerPreset};
