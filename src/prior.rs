//! The prior: a pre-norm transformer over code sequences in raster order. Tensors in, tensors out; it knows no files,
//! images or training loop, nor how a code is drawn from its logits.
//!
//! The autoregressive kind is a GPT (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"). A
//! sequence starts with a condition, a prefix of embeddings, and goes on with the codes of an image but the last:
//! ```text
//! input    t_0 … t_(l-1)   class   c_0   c_1  …  c_(n-2)      prefix + n_codes - 1 positions
//! logits                    c_0    c_1   c_2  …  c_(n-1)      of the next code
//! ```
//! The masked kind sees all positions from each, and predicts every unknown code at its own:
//! ```text
//! input    t_0 … t_(l-1)   class   c_0   mask  …  mask        prefix + n_codes positions
//! logits                           c_0   c_1   …  c_(n-1)
//! ```
//! An autoregressive prior may be trained on other orders too; then each position also says where the next code is. It
//! samples in raster order all the same.
//!
//! A prior with captions has a prefix of the tokens of a caption, which see each other, and the class; one without has
//! the class alone.

mod block;
mod code_batch;
mod condition;
mod config;
mod decoder;
mod gpt;
mod kind;
mod masked;
mod seeds;

pub use block::{Attention, Block, Mlp};
pub use code_batch::CodeBatch;
pub use condition::{Condition, Conditions};
pub(crate) use config::LONGEST_CAPTION;
pub use config::{Positions, PriorActivation, PriorConfig, PriorKind, PriorNorm};
pub use decoder::{Decoder, DeviceDecoder, HostDecoder, MaskedDecoder};
pub use gpt::{CaptionEmbedding, Gpt};
pub use kind::Prior;
pub(crate) use masked::masked;
pub use seeds::DropoutSeeds;
