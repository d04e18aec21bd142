//! Depthwise convolution of channels-last images as an operation of the CPU device, fused with the bias and with ReLU6
//! of its input and of its output. The padding is TensorFlow's `SAME`.

mod taps;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::conv::{in_parts, sum_rows};
use super::fresh::in_blocks;
use super::gradients::{MapGradients, Wanted};
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::wide::wide;
use taps::{Taps, add_to_taps, convolve, scatter};

/// Parameters of a depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseKind {
    /// Stride, in pixels.
    pub stride: usize,
    /// Whether ReLU6 is applied to the input first.
    pub relu6_before: bool,
    /// Whether ReLU6 is applied to the output.
    pub relu6_after: bool,
}

/// Kernel sizes that [`depthwise`] has loops for.
pub const DEPTHWISE_KERNELS: [usize; 3] = [3, 4, 5];

/// Pixels of `SAME` padding along an axis of `size` pixels: before the first pixel, and after the last one. The output
/// has `size / stride` pixels, rounded up.
pub fn same_padding(size: usize, kernel: usize, stride: usize) -> [usize; 2] {
    let out = size.div_ceil(stride);
    let all = ((out - 1) * stride + kernel).saturating_sub(size);
    [all / 2, all - all / 2]
}

/// Convolution of each channel with its own kernel, plus `bias`.
///
/// # Shapes
/// - x: `[batch, height, width, channels]`
/// - weight: `[kernel, kernel, 1, channels]`, a kernel of [`DEPTHWISE_KERNELS`]
/// - bias: `[channels]`
/// - output: `[batch, height / stride, width / stride, channels]`, rounded up
pub fn depthwise(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    kind: DepthwiseKind,
) -> Tensor<4> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::vqgen_depthwise(x, weight, bias, kind))
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait DepthwiseOps: Backend {
    /// See [`depthwise`].
    fn vqgen_depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: DepthwiseKind,
    ) -> FloatTensor<Self>;
}

impl DepthwiseOps for Flex {
    fn vqgen_depthwise(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        kind: DepthwiseKind,
    ) -> FlexTensor {
        Depthwise::new(x, weight, kind).forward(&Values::of(bias)).into_tensor()
    }
}

impl<C: CheckpointStrategy> DepthwiseOps for Autodiff<Flex, C> {
    fn vqgen_depthwise(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        kind: DepthwiseKind,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let operation = Depthwise::new(x, weight, kind);
        let out = operation.forward(&Values::of(bias));
        let nodes = [x_node, weight_node, bias_node];
        match DepthwiseBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let kept = kind.relu6_after.then(|| out.clone());
                step.finish((operation, kept), out.into_tensor())
            }
            OpsKind::UnTracked(step) => step.finish(out.into_tensor()),
        }
    }
}

/// A depthwise convolution with its operands.
#[derive(Debug, Clone)]
struct Depthwise {
    x: Values,
    weight: Values,
    kind: DepthwiseKind,
}

/// min(max(x, 0), 6), written so that NaN propagates.
#[inline(always)]
fn relu6(x: f32) -> f32 {
    let x = if x <= 0.0 { 0.0 } else { x };
    if x >= 6.0 { 6.0 } else { x }
}

/// Whether ReLU6 has slope 1 at `x`; the values before and after it agree about that.
#[inline(always)]
fn is_inside(x: f32) -> bool {
    !(x <= 0.0 || x >= 6.0)
}

impl Depthwise {
    fn new(x: FlexTensor, weight: FlexTensor, kind: DepthwiseKind) -> Self {
        let (x, weight) = (Values::of(x), Values::of(weight));
        let ([_, _, _, channels], [kernel, _, _, of_weight]) = (x.dims(), weight.dims());
        assert_eq!(channels, of_weight, "channels of a depthwise convolution");
        assert!(DEPTHWISE_KERNELS.contains(&kernel), "a depthwise kernel of {kernel}");
        Self { x, weight, kind }
    }

    /// Sizes along both axes, and the loops over the padded image.
    fn geometry(&self) -> Geometry {
        let [_, height, width, channels] = self.x.dims();
        let [kernel, _, _, _] = self.weight.dims();
        let stride = self.kind.stride;
        let [above, below] = same_padding(height, kernel, stride);
        let [left, right] = same_padding(width, kernel, stride);
        Geometry {
            size: [height, width],
            before: [above, left],
            padded: [above + height + below, left + width + right],
            taps: Taps {
                kernel,
                stride,
                channels,
                padded_width: left + width + right,
                rows: height.div_ceil(stride),
                columns: width.div_ceil(stride),
            },
        }
    }

    fn forward(&self, bias: &Values) -> Values {
        let geometry = self.geometry();
        let Geometry { taps, .. } = geometry;
        let [batch, _, _, _] = self.x.dims();
        let (weight, bias) = (self.weight.slice(), bias.slice());
        assert_eq!(bias.len(), taps.channels, "biases of a depthwise convolution");
        let out_len = taps.rows * taps.columns * taps.channels;
        let out = in_blocks(batch * out_len, out_len, |index, out| {
            self.with_padded(&geometry, index, |padded| convolve(padded, weight, taps, out));
            let rectify = self.kind.relu6_after;
            wide!({
                for pixel in out.chunks_exact_mut(bias.len()) {
                    for (value, bias) in pixel.iter_mut().zip(bias) {
                        let sum = *value + bias;
                        *value = if rectify { relu6(sum) } else { sum };
                    }
                }
            });
        });
        Values::of(tensor(out, [batch, taps.rows, taps.columns, taps.channels]))
    }

    /// Calls `work` with image `index` after its ReLU6, zero-padded.
    fn with_padded(&self, geometry: &Geometry, index: usize, work: impl FnOnce(&[f32])) {
        let image_len = geometry.image_len();
        let image = &self.x.slice()[index * image_len..][..image_len];
        with_scratch(geometry.padded_len(), |padded| {
            padded.fill(0.0);
            let rectify = self.kind.relu6_before;
            geometry.rows().for_each(|(row, at)| {
                let (from, to) = (&image[row..][..at.len()], &mut padded[at]);
                wide!({
                    for (to, &value) in to.iter_mut().zip(from) {
                        *to = if rectify { relu6(value) } else { value };
                    }
                });
            });
            work(padded);
        });
    }

    /// Gradients w.r.t. the operands, given that w.r.t. the output, and the output itself where ReLU6 follows.
    fn gradients(&self, gradient: &[f32], out: Option<&[f32]>, wanted: Wanted) -> MapGradients {
        if wanted.is_nothing() {
            return MapGradients::default();
        }
        let geometry = self.geometry();
        let Geometry { taps, .. } = geometry;
        let [batch, _, _, _] = self.x.dims();
        let (image_len, out_len) = (geometry.image_len(), taps.rows * taps.columns * taps.channels);
        let weight = self.weight.slice();
        in_parts(batch, image_len, wanted, |images, sums, mut input| {
            for (place, index) in images.enumerate() {
                let at = index * out_len..(index + 1) * out_len;
                with_scratch(out_len, |by_sum| {
                    by_sum.copy_from_slice(&gradient[at.clone()]);
                    if let Some(out) = out {
                        stop_outside(by_sum, &out[at]);
                    }
                    if wanted.bias {
                        sum_rows(by_sum, &mut sums.bias, taps.channels);
                    }
                    if wanted.weight {
                        sums.weight.resize(weight.len(), 0.0);
                        self.with_padded(&geometry, index, |padded| {
                            add_to_taps(padded, by_sum, taps, &mut sums.weight);
                        });
                    }
                    let Some(input) = input.as_deref_mut() else { return };
                    let by_image = &mut input[place * image_len..][..image_len];
                    geometry.input_gradient(by_sum, weight, by_image);
                    if self.kind.relu6_before {
                        let image = &self.x.slice()[index * image_len..][..image_len];
                        stop_outside(by_image, image);
                    }
                });
            }
        })
    }
}

/// The gradient before ReLU6 from that after it, in place; `values` are those before or after it.
fn stop_outside(gradient: &mut [f32], values: &[f32]) {
    wide!({
        for (gradient, &value) in gradient.iter_mut().zip(values) {
            *gradient = if is_inside(value) { *gradient } else { 0.0 };
        }
    });
}

/// Sizes of an image and of its padding; rows come first.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    size: [usize; 2],
    before: [usize; 2],
    padded: [usize; 2],
    taps: Taps,
}

impl Geometry {
    fn image_len(&self) -> usize {
        self.size[0] * self.size[1] * self.taps.channels
    }

    fn padded_len(&self) -> usize {
        self.padded[0] * self.padded[1] * self.taps.channels
    }

    /// Where each row of the image starts, and its range in the padded image.
    fn rows(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let Self { size: [height, width], before: [above, left], .. } = *self;
        let (channels, padded_width) = (self.taps.channels, self.taps.padded_width);
        (0..height).map(move |row| {
            let at = ((row + above) * padded_width + left) * channels;
            (row * width * channels, at..at + width * channels)
        })
    }

    /// Writes the gradient w.r.t. an image, given that w.r.t. its sums of products.
    fn input_gradient(&self, by_sum: &[f32], weight: &[f32], by_image: &mut [f32]) {
        let Self { size: [height, width], taps, .. } = *self;
        let Taps { kernel, channels, .. } = taps;
        if taps.stride > 1 {
            return with_scratch(self.padded_len(), |padded| {
                padded.fill(0.0);
                scatter(by_sum, weight, taps, padded);
                self.rows().for_each(|(row, at)| {
                    by_image[row..][..at.len()].copy_from_slice(&padded[at]);
                });
            });
        }
        // With stride 1 it is a convolution too: with the kernel rotated by half a turn and the rest of its padding.
        let [above, left] = self.before.map(|before| kernel - 1 - before);
        let [rows, padded_width] = [height, width].map(|size| size + kernel - 1);
        let back = Taps { padded_width, rows: height, columns: width, ..taps };
        with_scratch(rows * padded_width * channels + weight.len(), |scratch| {
            let (padded, turned) = scratch.split_at_mut(rows * padded_width * channels);
            let taps = weight.chunks_exact(channels).rev();
            turned.chunks_exact_mut(channels).zip(taps).for_each(|(to, tap)| {
                to.copy_from_slice(tap);
            });
            padded.fill(0.0);
            for (row, values) in by_sum.chunks_exact(width * channels).enumerate() {
                let at = ((row + above) * padded_width + left) * channels;
                padded[at..at + values.len()].copy_from_slice(values);
            }
            convolve(padded, turned, back, by_image);
        });
    }
}

#[derive(Debug)]
struct DepthwiseBackward;

impl Backward<Flex, 3> for DepthwiseBackward {
    type State = (Depthwise, Option<Values>);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let [x_parent, weight_parent, bias_parent] = ops.parents;
        let (operation, out) = ops.state;
        let wanted = Wanted::by([&x_parent, &weight_parent, &bias_parent]);
        let parents =
            [x_parent, weight_parent, bias_parent].map(|parent| parent.map(|parent| parent.id));
        let (x, weight): ([usize; 4], [usize; 4]) = (operation.x.dims(), operation.weight.dims());
        let out = out.as_ref().map(Values::slice);
        let gradients = operation.gradients(gradient.slice(), out, wanted);
        gradients.register(grads, parents, x, weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::tests::check_what_is_wanted;
    use crate::random::normals;

    #[test]
    fn same_padding_is_that_of_tensorflow() {
        // An even size and stride 2: the odd pixel of padding comes last.
        assert_eq!(same_padding(64, 3, 2), [0, 1]);
        assert_eq!(same_padding(64, 5, 2), [1, 2]);
        assert_eq!(same_padding(7, 3, 2), [1, 1]);
        assert_eq!(same_padding(7, 5, 1), [2, 2]);
        assert_eq!(same_padding(1, 5, 2), [2, 2]);
    }

    #[test]
    fn only_the_gradients_that_are_wanted_are_computed() {
        for (kernel, stride, channels) in [(3, 1, 17), (5, 2, 16), (3, 2, 5)] {
            let shape = [19, 6, 5, channels];
            let x = tensor(normals(0, shape.iter().product()), shape);
            let weight = normals(1, kernel * kernel * channels);
            let weight = tensor(weight, [kernel, kernel, 1, channels]);
            let kind = DepthwiseKind { stride, relu6_before: true, relu6_after: true };
            let operation = Depthwise::new(x, weight, kind);
            let out = operation.forward(&Values::of(tensor(normals(2, channels), [channels])));
            let gradient = normals(3, out.slice().len());
            check_what_is_wanted(|wanted| {
                operation.gradients(&gradient, Some(out.slice()), wanted)
            });
        }
    }
}
