//! Group norm of channels-last images, optionally fused with a following SiLU: two passes over an image for its
//! statistics and one for the output forward, three backward, with the image in the cache throughout. Sums are
//! accumulated per channel, as the values are laid out, and only then combined by group.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::activation::{sigmoid, silu_slope};
use super::fresh::{Pieces, set_in_blocks_with};
use super::gradients::{MapGradients, Wanted};
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::wide::vectorised;

/// Pixels that are written at once.
const PIXELS: usize = 16;

/// Normalises each group of channels of each image to mean 0 and variance 1, multiplies by `gain` and adds `bias`; with
/// `silu`, applies SiLU to the result. The variance is the biased one, to which `epsilon` is added. `groups` must
/// divide the channels.
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
    silu: bool,
) -> Tensor<4> {
    let (x, gain, bias) = (x.into_dispatch(), gain.into_dispatch(), bias.into_dispatch());
    let norm = Norm { groups, epsilon: epsilon as f32, silu };
    Tensor::from_dispatch(Dispatch::vqgen_group_norm(x, gain, bias, norm))
}

/// Everything but the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    groups: usize,
    epsilon: f32,
    /// Whether SiLU follows.
    silu: bool,
}

/// The operation as the backend sees it.
#[backend_extension(Flex, Autodiff)]
pub(super) trait GroupNormOps: Backend {
    /// See [`group_norm`].
    fn vqgen_group_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self>;
}

impl GroupNormOps for Flex {
    fn vqgen_group_norm(
        x: FlexTensor,
        gain: FlexTensor,
        bias: FlexTensor,
        norm: Norm,
    ) -> FlexTensor {
        let (x, gain, bias) = (Values::of(x), Values::of(gain), Values::of(bias));
        let (out, _) = forward(x, gain, bias, norm);
        out
    }
}

impl<C: CheckpointStrategy> GroupNormOps for Autodiff<Flex, C> {
    fn vqgen_group_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (x, gain, bias) = (Values::of(x), Values::of(gain), Values::of(bias));
        let (out, saved) = forward(x, gain, bias, norm);
        let nodes = [x_node, gain_node, bias_node];
        match GroupNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(saved, out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

/// Saved for the backward pass.
#[derive(Debug, Clone)]
struct Saved {
    x: Values,
    gain: Values,
    bias: Values,
    norm: Norm,
    /// Of each image, the mean of each channel's group, followed by 1 / standard deviation.
    statistics: Vec<f32>,
}

fn forward(x: Values, gain: Values, bias: Values, norm: Norm) -> (FlexTensor, Saved) {
    let [batch, height, width, channels] = x.dims();
    let Norm { groups, epsilon, silu } = norm;
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "{groups} groups do not divide {channels} channels"
    );
    assert_eq!((gain.dims(), bias.dims()), ([channels], [channels]), "gain and bias");
    let image_len = height * width * channels;
    let (out, statistics) = set_in_blocks_with(batch * image_len, image_len, |index, out| {
        let x = &x.slice()[index * image_len..][..image_len];
        let mut statistics = vec![0.0; 2 * channels];
        let (mean, scale) = statistics.split_at_mut(channels);
        sum_channels(x, mean);
        group_means(mean, groups, height * width);
        sum_squares(x, mean, scale);
        group_means(scale, groups, height * width);
        scale.iter_mut().for_each(|variance| *variance = 1.0 / (*variance + epsilon).sqrt());
        let of_norm = [&*mean, &*scale, gain.slice(), bias.slice()];
        let mut out = Pieces::of(out);
        out.set_few(image_len, PIXELS * channels, |at, out| normalise(&x[at], of_norm, silu, out));
        (out.finish(), statistics)
    });
    let statistics = statistics.concat();
    let out = tensor(out, [batch, height, width, channels]);
    (out, Saved { x, gain, bias, norm, statistics })
}

#[derive(Debug)]
struct GroupNormBackward;

impl Backward<Flex, 3> for GroupNormBackward {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, gain_parent, bias_parent] = ops.parents;
        let saved = ops.state;
        let wanted = Wanted::by([&x_parent, &gain_parent, &bias_parent]);
        let shape: [usize; 4] = saved.x.dims();
        let parents =
            [x_parent, gain_parent, bias_parent].map(|parent| parent.map(|parent| parent.id));
        let gradients = saved.gradients(gradient.slice(), wanted);
        gradients.register(grads, parents, shape, [shape[3]]);
    }
}

impl Saved {
    /// The range of an image in `x`, and for each channel the mean and 1 / standard deviation of its group.
    fn image(&self, index: usize) -> (Range<usize>, [&[f32]; 2]) {
        let [_, height, width, channels] = self.x.dims();
        let image_len = height * width * channels;
        let (mean, scale) =
            self.statistics[index * 2 * channels..][..2 * channels].split_at(channels);
        (index * image_len..(index + 1) * image_len, [mean, scale])
    }

    /// Gradients w.r.t. `x`, the gain (as `weight`) and the bias, given `gradient` w.r.t. the output.
    fn gradients(&self, gradient: &[f32], wanted: Wanted) -> MapGradients {
        let [batch, height, width, channels] = self.x.dims();
        let image_len = height * width * channels;
        // Of each image, the gain gradient followed by the bias gradient.
        let (input, sums) = if wanted.input {
            let (input, sums) = set_in_blocks_with(batch * image_len, image_len, |index, by_x| {
                let (image, _) = self.image(index);
                // The buffer of the input gradient first holds the gradient w.r.t. the norm's output.
                let mut pieces = Pieces::of(by_x);
                pieces.set_few(image_len, PIXELS * channels, |at, by_norm| {
                    let at = image.start + at.start..image.start + at.end;
                    self.norm_gradient(index, at.clone(), &gradient[at], by_norm);
                });
                let by_x = pieces.finish();
                let sums = self.sums(index, by_x);
                self.to_input_gradient(index, &sums, by_x);
                (by_x, sums)
            });
            (Some(input), sums)
        } else {
            let sums = (0..batch).into_par_iter().map(|index| {
                let (image, _) = self.image(index);
                let gradient = &gradient[image.clone()];
                if !self.norm.silu {
                    return self.sums(index, gradient);
                }
                with_scratch(image_len, |by_norm| {
                    self.norm_gradient(index, image, gradient, by_norm);
                    self.sums(index, by_norm)
                })
            });
            (None, sums.collect())
        };
        let mut by_gain = vec![0.0; 2 * channels];
        sum_channels(&sums.concat(), &mut by_gain);
        let by_bias = by_gain.split_off(channels);
        MapGradients {
            input,
            weight: wanted.weight.then_some(by_gain),
            bias: wanted.bias.then_some(by_bias),
        }
    }

    /// Writes the gradient w.r.t. the norm's output (before SiLU) for the values `at` of an image, from that w.r.t. the
    /// output there.
    fn norm_gradient(&self, index: usize, at: Range<usize>, gradient: &[f32], by_norm: &mut [f32]) {
        if !self.norm.silu {
            return by_norm.copy_from_slice(gradient);
        }
        let (_, [mean, scale]) = self.image(index);
        let of_norm = [mean, scale, self.gain.slice(), self.bias.slice()];
        silu_gradient(&self.x.slice()[at], gradient, of_norm, by_norm);
    }

    /// An image's contribution to the gain gradient, followed by that to the bias gradient.
    fn sums(&self, index: usize, by_norm: &[f32]) -> Vec<f32> {
        let (image, statistics) = self.image(index);
        let channels = self.gain.slice().len();
        let mut sums = vec![0.0; 2 * channels];
        let (by_gain, by_bias) = sums.split_at_mut(channels);
        sum_gradients(&self.x.slice()[image], by_norm, statistics, by_gain, by_bias);
        sums
    }

    /// From the gradient w.r.t. the norm's output, whose [`Self::sums`] these are, to that w.r.t. an image, in place.
    fn to_input_gradient(&self, index: usize, sums: &[f32], gradient: &mut [f32]) {
        let (image, [mean, scale]) = self.image(index);
        let gain = self.gain.slice();
        let channels = gain.len();
        let pixels = image.len() / channels;
        let (by_gain, by_bias) = sums.split_at(channels);
        with_scratch(2 * channels, |means| {
            // Group means of the gradient w.r.t. the normalised values, and of its product with them.
            let (slope, along) = means.split_at_mut(channels);
            for channel in 0..channels {
                slope[channel] = by_bias[channel] * gain[channel];
                along[channel] = by_gain[channel] * gain[channel];
            }
            group_means(slope, self.norm.groups, pixels);
            group_means(along, self.norm.groups, pixels);
            gradients(&self.x.slice()[image], [mean, scale, gain, slope, along], gradient);
        });
    }
}

/// Replaces sums of channels over `pixels` by the mean of each channel's group.
fn group_means(sums: &mut [f32], groups: usize, pixels: usize) {
    let members = sums.len() / groups;
    for group in sums.chunks_exact_mut(members) {
        let mean = group.iter().sum::<f32>() / (members * pixels) as f32;
        group.fill(mean);
    }
}

vectorised! {
    fn sum_channels(pixels: &[f32], sums: &mut [f32]) {
        for pixel in pixels.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
    }
}

vectorised! {
    fn sum_squares(pixels: &[f32], mean: &[f32], sums: &mut [f32]) {
        for pixel in pixels.chunks_exact(sums.len()) {
            for ((sum, value), mean) in sums.iter_mut().zip(pixel).zip(mean) {
                *sum += (value - mean) * (value - mean);
            }
        }
    }
}

vectorised! {
    fn normalise(x: &[f32], channels: [&[f32]; 4], silu: bool, out: &mut [f32]) {
        let [mean, scale, gain, bias] = channels;
        let n = mean.len();
        let (scale, gain, bias) = (&scale[..n], &gain[..n], &bias[..n]);
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            let (x, out) = (&x[..n], &mut out[..n]);
            for i in 0..n {
                out[i] = (x[i] - mean[i]) * scale[i] * gain[i] + bias[i];
            }
            if silu {
                for value in out {
                    *value *= sigmoid(*value);
                }
            }
        }
    }
}

vectorised! {
    /// The gradient w.r.t. the norm's output where SiLU follows.
    fn silu_gradient(x: &[f32], gradient: &[f32], channels: [&[f32]; 4], by_norm: &mut [f32]) {
        let [mean, scale, gain, bias] = channels;
        let n = mean.len();
        let (scale, gain, bias) = (&scale[..n], &gain[..n], &bias[..n]);
        let inputs = x.chunks_exact(n).zip(gradient.chunks_exact(n));
        for ((x, gradient), by_norm) in inputs.zip(by_norm.chunks_exact_mut(n)) {
            let (x, gradient, by_norm) = (&x[..n], &gradient[..n], &mut by_norm[..n]);
            for i in 0..n {
                let value = (x[i] - mean[i]) * scale[i] * gain[i] + bias[i];
                by_norm[i] = gradient[i] * silu_slope(value);
            }
        }
    }
}

vectorised! {
    fn sum_gradients(
        x: &[f32],
        gradient: &[f32],
        statistics: [&[f32]; 2],
        by_gain: &mut [f32],
        by_bias: &mut [f32],
    ) {
        let [mean, scale] = statistics;
        let n = mean.len();
        let (scale, by_gain, by_bias) = (&scale[..n], &mut by_gain[..n], &mut by_bias[..n]);
        for (x, gradient) in x.chunks_exact(n).zip(gradient.chunks_exact(n)) {
            let (x, gradient) = (&x[..n], &gradient[..n]);
            for i in 0..n {
                by_gain[i] += gradient[i] * (x[i] - mean[i]) * scale[i];
                by_bias[i] += gradient[i];
            }
        }
    }
}

vectorised! {
    /// The gradient w.r.t. `x`, in place of that w.r.t. the norm's output.
    fn gradients(x: &[f32], channels: [&[f32]; 5], gradient: &mut [f32]) {
        let [mean, scale, gain, slope, along] = channels;
        let n = mean.len();
        let (scale, gain, slope, along) = (&scale[..n], &gain[..n], &slope[..n], &along[..n]);
        for (x, gradient) in x.chunks_exact(n).zip(gradient.chunks_exact_mut(n)) {
            let (x, gradient) = (&x[..n], &mut gradient[..n]);
            for i in 0..n {
                let normal = (x[i] - mean[i]) * scale[i];
                gradient[i] = scale[i] * (gradient[i] * gain[i] - slope[i] - normal * along[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::tests::check_what_is_wanted;
    use crate::random::normals;

    #[test]
    fn only_the_gradients_that_are_wanted_are_computed() {
        let (shape, groups) = ([3, 5, 4, 12], 3);
        for silu in [false, true] {
            let [x, gradient] = [0, 1].map(|item| tensor(normals(item, 3 * 5 * 4 * 12), shape));
            let [gain, bias] = [2, 3].map(|item| Values::of(tensor(normals(item, 12), [12])));
            let norm = Norm { groups, epsilon: 1e-6, silu };
            let (_, saved) = forward(Values::of(x), gain, bias, norm);
            let gradient = Values::of(gradient);
            check_what_is_wanted(|wanted| saved.gradients(gradient.slice(), wanted));
        }
    }
}
