//! The operations both models are made of: free functions over tensors, and the small structs that hold their weights.
//! They know nothing of a model or a file. Each is a composition of Burn's own operations, replaced on the CPU by a
//! fused kernel of `vqgen_kernels` where there is one; models do not notice, and only this module names that crate.
//!
//! Every linear takes a rank-2 input: flex sends the backward pass of a rank-3 matmul through a slow batched path, so
//! callers keep activations as `[batch * sequence, width]`.

pub mod init;

pub mod activation;
pub mod linear;
pub mod norm;

pub mod conv;
pub mod depthwise;
pub mod direction;
pub mod frequency;
pub mod resample;

pub mod moving_average;
pub mod nearest;
pub mod quantize;
pub(crate) mod residual;

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod rotary;

pub mod adamw;
pub(crate) mod orthogonal;
pub mod precision;

#[cfg(test)]
mod tests;

use crate::error;

pub use activation::gelu;
pub(crate) use activation::relu;
pub use adamw::{AdamWStep, Moving, adamw_step};
pub(crate) use adamw::{lerp, scaled_by, square_sum};
pub use attention::{CausalMask, Heads, causal_attention};
pub(crate) use attention::{KeyValues, cached_attention};
pub use cross_entropy::token_losses;
pub(crate) use dropout::{Dropout, dropout};
pub use embedding::{Embedding, embedding};
pub(crate) use linear::packed_linear;
pub use linear::{Linear, linear, linear_gelu, linear_squared_relu};
pub use norm::{GroupNorm, Norm, layer_norm, rms_norm};
pub(crate) use orthogonal::orthogonalised;
pub use precision::{Precision, set_precision};
pub(crate) use quantize::{
    mean_absolute_error, mean_huber_error, mean_squared_error, rotation, straight_through,
    with_gradient,
};
pub use rotary::RotaryTables;
pub use vqgen_kernels::runs_on_host;
pub(crate) use vqgen_kernels::{
    HeadCache, HeadMap, PackedLinear, RowNorm, Share, Then, keep_freed_memory, max, values,
};

/// Checks the environment variable that limits the vector instructions in use: `VQGEN_INSTRUCTIONS`, one of `plain`,
/// `avx2`, `avx512`, `avx512-bf16` and `amx`.
///
/// # Errors
/// Any other value.
pub fn check_instruction_limit() -> error::Result<()> {
    let checked = vqgen_kernels::check_instruction_limit();
    checked.map_err(|unknown| error::Error::invalid(unknown.to_string()))
}
