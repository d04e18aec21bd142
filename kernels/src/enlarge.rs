//! Bilinear enlargement of channels-last images by a whole factor, as an operation of the CPU device.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::fresh::in_blocks;
use super::scratch::with_scratch;
use super::slices::{Values, tensor};
use super::wide::wide;

/// `factor` times the height and width, with half-pixel centres: PyTorch's `interpolate` with `align_corners=False`.
///
/// # Shapes
/// - x: `[batch, height, width, channels]`
/// - output: `[batch, factor * height, factor * width, channels]`
pub fn enlarge(x: Tensor<4>, factor: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::vqgen_enlarge(x.into_dispatch(), factor))
}

/// For each of `factor * size` pixels of an enlarged axis, the two pixels that it lies between and the weight of the
/// second.
pub fn neighbours(size: usize, factor: usize) -> impl Iterator<Item = ([usize; 2], f32)> + Clone {
    (0..size * factor).map(move |place| {
        // In units of half an enlarged pixel: the centre of pixel 0 is at `factor`.
        let at = (2 * place + 1).saturating_sub(factor);
        let (first, rest) = (at / (2 * factor), at % (2 * factor));
        ([first, (first + 1).min(size - 1)], rest as f32 / (2 * factor) as f32)
    })
}

#[backend_extension(Flex, Autodiff)]
pub(super) trait EnlargeOps: Backend {
    /// See [`enlarge`].
    fn vqgen_enlarge(x: FloatTensor<Self>, factor: usize) -> FloatTensor<Self>;
}

impl EnlargeOps for Flex {
    fn vqgen_enlarge(x: FlexTensor, factor: usize) -> FlexTensor {
        forward(&Values::of(x), factor)
    }
}

impl<C: CheckpointStrategy> EnlargeOps for Autodiff<Flex, C> {
    fn vqgen_enlarge(x: FloatTensor<Self>, factor: usize) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = Values::of(x);
        let out = forward(&x, factor);
        match EnlargeBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x.dims(), factor), out),
            OpsKind::UnTracked(step) => step.finish(out),
        }
    }
}

fn forward(x: &Values, factor: usize) -> FlexTensor {
    let [batch, height, width, channels] = x.dims();
    let row_len = width * channels;
    let out_len = height * row_len * factor * factor;
    let out = in_blocks(batch * out_len, out_len, |index, out| {
        let image = &x.slice()[index * height * row_len..][..height * row_len];
        let rows = out.chunks_exact_mut(factor * row_len);
        with_scratch(row_len, |between| {
            for (([upper, lower], weight), out) in neighbours(height, factor).zip(rows) {
                let (upper, lower) = (&image[upper * row_len..], &image[lower * row_len..]);
                wide!({
                    let rows = upper.iter().zip(lower);
                    for (to, (upper, lower)) in between.iter_mut().zip(rows) {
                        *to = upper + (lower - upper) * weight;
                    }
                });
                let pixels = out.chunks_exact_mut(channels);
                for (([left, right], weight), out) in neighbours(width, factor).zip(pixels) {
                    let (left, right) = (&between[left * channels..], &between[right * channels..]);
                    for (to, (left, right)) in out.iter_mut().zip(left.iter().zip(right)) {
                        *to = left + (right - left) * weight;
                    }
                }
            }
        });
    });
    tensor(out, [batch, factor * height, factor * width, channels])
}

/// The gradient w.r.t. images of shape `[batch, height, width, channels]`.
fn backward(
    gradient: &[f32],
    [batch, height, width, channels]: [usize; 4],
    factor: usize,
) -> FlexTensor {
    let row_len = width * channels;
    let (image_len, out_len) = (height * row_len, height * row_len * factor * factor);
    let out = in_blocks(batch * image_len, image_len, |index, image| {
        let gradient = &gradient[index * out_len..][..out_len];
        let rows = gradient.chunks_exact(factor * row_len);
        with_scratch(row_len, |between| {
            for (([upper, lower], weight), row) in neighbours(height, factor).zip(rows) {
                between.fill(0.0);
                let pixels = row.chunks_exact(channels);
                for (([left, right], weight), pixel) in neighbours(width, factor).zip(pixels) {
                    for (channel, value) in pixel.iter().enumerate() {
                        between[left * channels + channel] += value * (1.0 - weight);
                        between[right * channels + channel] += value * weight;
                    }
                }
                for (row, weight) in [(upper, 1.0 - weight), (lower, weight)] {
                    let to = &mut image[row * row_len..][..row_len];
                    wide!({
                        to.iter_mut().zip(&*between).for_each(|(to, value)| *to += value * weight);
                    });
                }
            }
        });
    });
    tensor(out, [batch, height, width, channels])
}

#[derive(Debug)]
struct EnlargeBackward;

impl Backward<Flex, 1> for EnlargeBackward {
    type State = ([usize; 4], usize);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = Values::of(grads.consume::<Flex>(&ops.node));
        let (shape, factor) = ops.state;
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, backward(gradient.slice(), shape, factor));
        }
    }
}
