//! The operations both models are made of: free functions over tensors, and the small structs that hold
//! their weights. They know nothing of a model, a file or a device; each is a composition of burn's own
//! operations, and the place where a fused kernel goes in without a model noticing.
//!
//! Every linear takes a rank-2 input: flex sends the backward pass of a rank-3 product through a slow
//! batched path, so callers keep activations as `[batch * sequence, width]`.

pub mod init;

pub mod activation;
pub mod linear;
pub mod norm;

pub mod conv;
pub mod nearest;
pub mod resample;

pub use activation::{gelu, relu, silu};
pub use linear::{Linear, linear};
pub use norm::{GroupNorm, LayerNorm, group_norm, layer_norm};
