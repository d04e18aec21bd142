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

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod rotary;

pub mod adamw;

mod cpu;

use burn::tensor::Device;

pub use activation::{gelu, relu, silu};
pub use adamw::{AdamWStep, Moving, adamw_step, scaled_by, square_sum};
pub use attention::{CausalMask, KeyValues, cached_attention, causal_attention};
pub use cross_entropy::{cross_entropy, token_losses};
pub use dropout::{Dropout, dropout};
pub use embedding::{Embedding, embedding};
pub use linear::{Linear, linear, linear_gelu, linear_residual};
pub use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
pub use rotary::RotaryTables;

/// Whether tensors of `device` live in this process's memory and are computed by its threads: reading one
/// then costs nothing, and a plain loop over a slice beats a chain of tensor operations.
pub fn runs_on_host(device: &Device) -> bool {
    *device == Device::flex()
}
