//! Kernels for the CPU device of vqgen, plugged into Burn through its backend extension, each with a hand-written
//! backward pass, and slice kernels for decoding one position at a time. All of vqgen's unsafe code is here. The crate
//! knows nothing of vqgen itself and keeps no global settings: whatever a kernel needs, such as its [`Precision`], is
//! an argument. (Only the processor's instruction sets are detected once.)
//!
//! Callers keep a composition of Burn's own operations beside each kernel: it defines what is computed, runs on every
//! other device, and is what the tests compare the kernel with.
//!
//! Work is split by index, never by thread, and partial sums are added in index order: results do not depend on the
//! number of threads.

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
mod depthwise;
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
mod direction;
mod enlarge;
mod group_norm;
mod head_map;
mod layer_norm;
mod math;
mod moving_average;
mod nearest;
mod normal;
mod quantize;
mod residual;
mod rotation;
mod weight_mask;

mod adamw;
mod decode;
mod orthogonal;

#[cfg(test)]
mod random;

pub use activation::{Activation, activation};
pub use adamw::{AdamWStep, Moving, adamw, lerp, scaled_by, square_sum};
pub use attention::causal_attention;
pub use convolution::{ConvKind, convolution};
pub use cross_entropy::token_losses;
pub use decode::{HeadCache, PackedLinear, RotaryRows, RowNorm, Share, Then, values};
pub use depthwise::{DEPTHWISE_KERNELS, DepthwiseKind, depthwise, same_padding};
pub use direction::{DIRECTION_EPSILON, direction_distance};
pub use dropout::{Mask, dropout};
pub use enlarge::{enlarge, neighbours};
pub use extension::{runs_here, runs_on_host};
pub use group_norm::group_norm;
pub use head_map::{HEAD_EPSILON, HeadMap};
pub use instructions::{UnknownInstructions, check_instruction_limit, instruction_sets};
pub use layer_norm::{layer_norm, rms_norm};
pub use linear::{After, LINEAR_ROWS, linear};
pub use math::max;
pub use memory::keep_freed_memory;
pub use moving_average::{AverageStep, Averages, moving_average};
pub use nearest::{CodeSums, counts_by_code, nearest_code, sums_by_code};
pub use orthogonal::{ORTHOGONAL_FLOOR, ORTHOGONAL_QUINTIC, ORTHOGONAL_STEPS, orthogonalise};
pub use precision::{HasBf16, Precision};
pub use quantize::{
    mean_absolute_error, mean_huber_error, mean_squared_error, straight_through, with_gradient,
};
pub use residual::{ResidualCodes, residual_codes};
pub use rotation::rotation;
pub use weight_mask::WeightMask;
pub use window::Window;
