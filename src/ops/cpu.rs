//! Kernels for the CPU device, plugged into Burn through its backend extension, each with a hand-written
//! backward pass. The compositions beside the callers stay the definition of what they compute and run on
//! every other device.
//!
//! Work is split by index, never by thread, and partial sums are added in the order of their index: the
//! result does not depend on the number of threads.

mod extension;
mod gradients;
mod instructions;
mod memory;
mod precision;
mod product;
mod scratch;
mod slices;
mod sums;

mod conv;
mod convolution;
mod window;
mod winograd;

mod elementwise;
mod fetch;
mod fresh;
mod vector;
mod wide;

mod activation;
mod dropout;
mod linear;

mod attention;
mod attention_head;
mod cross_entropy;
mod group_norm;
mod layer_norm;
mod math;
mod nearest;
mod normal;
mod quantize;
mod weight_mask;

mod adamw;
mod decode;

pub(super) use activation::{Activation, activation};
pub(super) use adamw::{adamw, scaled_by, square_sum};
pub(super) use attention::causal_attention;
pub(super) use convolution::{ConvKind, convolution};
pub(super) use cross_entropy::token_losses;
pub use decode::{HeadCache, PackedLinear, RotaryRows, RowNorm, Share, Then, values};
pub(super) use dropout::{Mask, dropout};
pub(super) use extension::runs_here;
pub(super) use group_norm::group_norm;
pub(super) use instructions::check_limit;
pub(super) use layer_norm::layer_norm;
pub(super) use linear::{After, LINEAR_ROWS, linear};
pub use math::max;
pub(super) use memory::keep_freed;
pub(super) use nearest::{nearest_code, sums_by_code};
pub(super) use precision::Precision;
pub(super) use quantize::{mean_squared_error, straight_through};
pub(super) use weight_mask::WeightMask;
pub(super) use window::Window;
