//! The operations both models are made of: free functions over tensors, and the small structs that hold
//! their weights. They know nothing of a model or a file; each is a composition of burn's own operations,
//! and the place where a fused kernel goes in without a model noticing.
//!
//! Every linear takes a rank-2 input: flex sends the backward pass of a rank-3 product through a slow
//! batched path, so callers keep activations as `[batch * sequence, width]`.

pub mod init;

pub mod activation;
pub mod linear;
pub mod norm;

pub mod conv;
pub mod resample;

pub mod nearest;
pub mod quantize;

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod rotary;

pub mod adamw;
pub mod precision;

mod cpu;

use burn::tensor::Device;

use crate::error;

pub use activation::{gelu, relu, silu};
pub use adamw::{AdamWStep, Moving, adamw_step, scaled_by, square_sum};
pub use attention::{CausalMask, KeyValues, cached_attention, causal_attention};
pub use cpu::{HeadCache, PackedLinear, RotaryRows, RowNorm, Share, Then, max, values};
pub use cross_entropy::{cross_entropy, token_losses};
pub use dropout::{Dropout, dropout};
pub use embedding::{Embedding, embedding};
pub use linear::{Linear, linear, linear_gelu, linear_residual, packed_linear};
pub use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub use precision::{Precision, set_precision};
pub use quantize::{mean_squared_error, straight_through};
pub use rotary::RotaryTables;

/// Checks the environment variable that limits which vector instructions are used: `VQGEN_INSTRUCTIONS`, one of `plain`,
/// `avx2`, `avx512`, `avx512-bf16` and `amx`.
///
/// # Errors
/// Another value.
pub fn check_instruction_limit() -> error::Result<()> {
    cpu::check_limit()
}

/// Keeps freed memory in the process, where the allocator is mimalloc: every training step asks for the same buffers
/// again, and each page of a fresh one is a fault and a pass of zeros. Once a process.
pub fn keep_freed_memory() {
    cpu::keep_freed();
}

/// Whether tensors of `device` live in this process's memory and are computed by its threads: reading one
/// then costs nothing, and a plain loop over a slice beats a chain of tensor operations.
pub fn runs_on_host(device: &Device) -> bool {
    *device == Device::flex()
}
