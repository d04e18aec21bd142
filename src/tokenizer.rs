//! The tokenizer: encoder, codebook and decoder (van den Oord et al. 2017, "Neural Discrete Representation
//! Learning"). Tensors in, tensors out; it knows no files, no images and no training loop.

mod config;

mod plain;

mod attention;
mod resnet;
mod resnet34;

mod quantizer;

mod ema;
mod kmeans;

mod model;

pub use config::{GradientEstimator, QuantizerKind, TokenizerConfig, TokenizerPreset};
pub use ema::{EmaCodebook, IdleCodes};
pub(crate) use ema::{draw_rows, replace_rows};
pub(crate) use kmeans::kmeans;
pub use model::{Decoder, Encoder, Tokenizer, TokenizerOutput};
pub use plain::{PlainDecoder, PlainEncoder};
pub use quantizer::{
    Assigned, Codebook, FiniteScalars, LossTerm, Quantized, Quantizer, TermWeights,
};
pub use resnet::{ResnetDecoder, ResnetEncoder};
pub use resnet34::Resnet34Encoder;
