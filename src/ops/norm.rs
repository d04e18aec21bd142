//! Normalisation: layer norm over the last axis of a matrix (Ba et al. 2016), group norm over groups of
//! channels of a channels-last image (Wu and He 2018). Both use the biased variance, as PyTorch does.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module};
use vqgen_kernels::{self as kernels, RowNorm};

use super::activation::silu;
use super::init::filled;

/// Added to the variance in both norms: PyTorch's default.
pub const EPSILON: f64 = 1e-5;

/// Added to the variance of a group norm: VQGAN's value.
pub const GROUP_EPSILON: f64 = 1e-6;

/// Normalises each row to mean 0 and variance 1, multiplies by `gain` and adds `bias`.
///
/// # Shapes
/// - x, output: `[rows, width]`
/// - gain, bias: `[width]`
pub fn layer_norm(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if kernels::runs_here(&x) {
        return kernels::layer_norm(x, gain, bias, epsilon);
    }
    plain_layer_norm(x, gain, bias, epsilon)
}

/// What [`layer_norm`] computes, in Burn's own operations.
fn plain_layer_norm(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<2> {
    module::layer_norm(x, gain, Some(bias), epsilon)
}

/// Divides each row by its root mean square and multiplies by `gain` (Zhang and Sennrich 2019); `epsilon` is added to
/// the mean square.
///
/// # Shapes
/// - x, output: `[rows, width]`
/// - gain: `[width]`
pub fn rms_norm(x: Tensor<2>, gain: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if kernels::runs_here(&x) {
        return kernels::rms_norm(x, gain, epsilon);
    }
    plain_rms_norm(x, gain, epsilon)
}

/// What [`rms_norm`] computes, in Burn's own operations.
fn plain_rms_norm(x: Tensor<2>, gain: Tensor<1>, epsilon: f64) -> Tensor<2> {
    unit_root_mean_square(x, epsilon) * gain.unsqueeze()
}

/// `x` divided by the root mean square over its last axis, in Burn's own operations.
pub(super) fn unit_root_mean_square<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x * mean_square.add_scalar(epsilon).sqrt().recip()
}

/// Normalises each group of channels of each image to mean 0 and variance 1, multiplies by `gain` and adds `bias`.
/// `groups` must divide the channels.
///
/// # Shapes
/// - x, output: `[batch, height, width, channels]`
/// - gain, bias: `[channels]`
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    if kernels::runs_here(&x) {
        return kernels::group_norm(x, groups, gain, bias, epsilon, false);
    }
    plain_group_norm(x, groups, gain, bias, epsilon)
}

/// [`silu`] of [`group_norm`], fused on the CPU.
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    if kernels::runs_here(&x) {
        return kernels::group_norm(x, groups, gain, bias, epsilon, true);
    }
    silu(group_norm(x, groups, gain, bias, epsilon))
}

/// What [`group_norm`] computes, in Burn's own operations.
fn plain_group_norm(
    x: Tensor<4>,
    groups: usize,
    gain: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "{groups} groups do not divide {channels} channels"
    );
    let pixels = height * width;
    let members = channels / groups;
    // Statistics are summed over pixels first, while the channels are still contiguous, and only a [batch, channels]
    // table is regrouped: a view [batch, pixels, groups, members] of the image itself would make every pass below
    // strided.
    let group_mean = |per_channel: Tensor<3>| {
        per_channel
            .reshape([batch, 1, groups, members])
            .mean_dim(3) // [batch, 1, groups, 1]
            .repeat_dim(3, members)
            .reshape([batch, 1, channels])
    };
    let x = x.reshape([batch, pixels, channels]);
    let mean = group_mean(x.clone().mean_dim(1));
    let centered = x - mean;
    let variance = group_mean(centered.clone().square().mean_dim(1));
    let scale = variance.add_scalar(epsilon).sqrt().recip() * gain.reshape([1, 1, channels]);
    let y = centered * scale + bias.reshape([1, 1, channels]);
    y.reshape([batch, height, width, channels])
}

/// The weights of a [`layer_norm`], or without a bias of an [`rms_norm`].
#[derive(Module, Debug)]
pub struct Norm {
    /// The gain, `[width]`.
    pub weight: Param<Tensor<1>>,
    /// `[width]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Norm {
    /// Gain 1, and bias 0 where `is_centred`, that is for a [`layer_norm`].
    pub fn new(width: usize, is_centred: bool, device: &Device) -> Self {
        let bias = is_centred.then(|| filled([width], 0.0, device));
        Self { weight: filled([width], 1.0, device), bias }
    }

    /// # Shapes
    /// - x, output: `[rows, width]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => layer_norm(x, self.weight.val(), bias.val(), EPSILON),
            None => rms_norm(x, self.weight.val(), EPSILON),
        }
    }

    /// For decoding on the CPU device: copies on the host.
    pub fn to_rows(&self) -> RowNorm {
        RowNorm::new(self.weight.val(), self.bias.as_ref().map(Param::val), EPSILON)
    }
}

/// The weights of a [`group_norm`], and its number of groups.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// The gain, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// How many groups the channels form.
    #[module(skip)]
    pub groups: usize,
}

impl GroupNorm {
    /// Gain 1 and bias 0; `groups` must divide `channels`.
    pub fn new(groups: usize, channels: usize, device: &Device) -> Self {
        Self {
            weight: filled([channels], 1.0, device),
            bias: filled([channels], 0.0, device),
            groups,
        }
    }

    /// # Shapes
    /// - x, output: `[batch, height, width, channels]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm(x, self.groups, self.weight.val(), self.bias.val(), GROUP_EPSILON)
    }

    /// [`silu`] of [`Self::forward`], fused on the CPU.
    ///
    /// # Shapes
    /// - x, output: `[batch, height, width, channels]`
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        group_norm_silu(x, self.groups, self.weight.val(), self.bias.val(), GROUP_EPSILON)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
