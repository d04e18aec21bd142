//! The prior: a GPT over code sequences in raster order. Tensors in, tensors out; it knows no files, no
//! images and no training loop.

mod config;

pub use config::{Positions, PriorConfig};
