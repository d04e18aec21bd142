//! The prior: a GPT over code sequences in raster order (Radford et al. 2019, "Language Models are
//! Unsupervised Multitask Learners"; pre-norm blocks). Tensors in, tensors out; it knows no files, no
//! images, no training loop, and nothing of how a code is chosen from its logits.
//!
//! A sequence starts with a class token and goes on with the codes of an image but the last:
//! ```text
//! input    class   c_0   c_1  …  c_(n-2)      n_codes tokens
//! logits    c_0    c_1   c_2  …  c_(n-1)      of the code that follows each of them
//! ```

mod block;
mod cache;
mod config;
mod decay;
mod decoder;
mod gpt;
mod seeds;

pub use block::{Attention, Block, Mlp};
pub use cache::KvCache;
pub use config::{Positions, PriorConfig};
pub use decay::decays;
pub use decoder::Decoder;
pub use gpt::Gpt;
pub use seeds::DropoutSeeds;
