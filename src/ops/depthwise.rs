//! Depthwise convolution over channels-last images, with TensorFlow's `SAME` padding, and the layer that owns its
//! weights.

use burn::module::{Module, Param};
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, module};
use vqgen_kernels::{self as kernels, DEPTHWISE_KERNELS, DepthwiseKind, same_padding};

use super::init::WeightInit;

/// Convolution of each channel with its own kernel, plus the bias. The image is padded with zeros so that the output
/// has `size / stride` pixels, rounded up; where the padding is odd, its larger half comes last.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - `weight`: `[kernel, kernel, 1, channels]`
/// - `bias`: `[channels]`
/// - output: `[batch, height / stride, width / stride, channels]`, rounded up
fn depthwise(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, kind: DepthwiseKind) -> Tensor<4> {
    let [kernel, _, _, _] = weight.dims();
    if kernels::runs_here(&x) && DEPTHWISE_KERNELS.contains(&kernel) {
        return kernels::depthwise(x, weight, bias, kind);
    }
    plain_depthwise(x, weight, bias, kind)
}

/// What [`depthwise`] computes, in Burn's own operations.
fn plain_depthwise(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    kind: DepthwiseKind,
) -> Tensor<4> {
    let [_, height, width, channels] = x.dims();
    let [kernel, _, _, _] = weight.dims();
    let x = if kind.relu6_before { x.clamp(0.0, 6.0) } else { x };
    let [above, below] = same_padding(height, kernel, kind.stride);
    let [left, right] = same_padding(width, kernel, kind.stride);
    let x = x.permute([0, 3, 1, 2]); // [batch, channels, height, width]
    let x = x.pad((left, right, above, below), PadMode::Constant(0.0));
    let weight = weight.permute([3, 2, 0, 1]); // [channels, 1, kernel, kernel]
    let options = ConvOptions::new([kind.stride; 2], [0; 2], [1; 2], channels);
    let y = module::conv2d(x, weight, Some(bias), options).permute([0, 2, 3, 1]);
    if kind.relu6_after { y.clamp(0.0, 6.0) } else { y }
}

/// Halves height and width after a blur by the binomial filter 1 3 3 1, which removes what the smaller image cannot show
/// (Zhang 2019, "Making Convolutional Networks Shift-Invariant Again").
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, height / 2, width / 2, channels]`, rounded up
pub fn blur_downsample(x: Tensor<4>) -> Tensor<4> {
    const FILTER: [f32; 4] = [0.125, 0.375, 0.375, 0.125];
    let device = x.device();
    let [_, _, _, channels] = x.dims();
    let filter = Tensor::<1>::from_floats(FILTER, &device);
    let weight = filter.clone().reshape([4, 1, 1, 1]) * filter.reshape([1, 4, 1, 1]);
    let weight = weight.expand([4, 4, 1, channels]);
    let kind = DepthwiseKind { stride: 2, relu6_before: false, relu6_after: false };
    depthwise(x, weight, Tensor::zeros([channels], &device), kind)
}

/// A depthwise convolution layer. Its weight is `[kernel, kernel, 1, channels]` here and `[channels, 1, kernel,
/// kernel]` in files.
#[derive(Module, Debug)]
pub struct Depthwise {
    /// `[kernel, kernel, 1, channels]`.
    pub weight: Param<Tensor<4>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl Depthwise {
    /// Weights that keep the variance of their inputs; biases 0.
    pub fn new(channels: usize, kernel: usize, stride: usize, init: &mut WeightInit) -> Self {
        let bound = (3.0 / (kernel * kernel) as f32).sqrt();
        Self {
            weight: init.uniform([kernel, kernel, 1, channels], bound),
            bias: init.constant([channels], 0.0),
            stride,
        }
    }

    /// Stride, in pixels.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// ReLU6 of the convolution of ReLU6 of `x`, fused on the CPU.
    ///
    /// # Shapes
    /// - `x`: `[batch, height, width, channels]`
    /// - output: `[batch, height / stride, width / stride, channels]`, rounded up
    pub fn forward_between_relu6(&self, x: Tensor<4>) -> Tensor<4> {
        let kind = DepthwiseKind { stride: self.stride, relu6_before: true, relu6_after: true };
        depthwise(x, self.weight.val(), self.bias.val(), kind)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn each_channel_is_summed_under_its_own_kernel() {
        let device = Device::flex();
        let x = Tensor::<4>::ones([1, 4, 4, 2], &device);
        let weight = Tensor::cat(
            vec![Tensor::ones([3, 3, 1, 1], &device), Tensor::full([3, 3, 1, 1], -1.0, &device)],
            3,
        );
        let bias = Tensor::from_floats([0.5, 0.0], &device);
        let kind = DepthwiseKind { stride: 2, relu6_before: false, relu6_after: false };
        // The one pixel of padding comes last: the first patch is whole.
        let wanted = vec![9.5, -9.0, 6.5, -6.0, 6.5, -6.0, 4.5, -4.0f32];
        let y = depthwise(x.clone(), weight.clone(), bias.clone(), kind);
        y.into_data().assert_eq(&TensorData::new(wanted, [1, 2, 2, 2]), true);
        let kind = DepthwiseKind { relu6_after: true, ..kind };
        let wanted = vec![6.0, 0.0, 6.0, 0.0, 6.0, 0.0, 4.5, 0.0f32];
        let y = depthwise(x, weight, bias, kind);
        y.into_data().assert_eq(&TensorData::new(wanted, [1, 2, 2, 2]), true);
    }

    #[test]
    fn blurring_keeps_the_brightness_of_what_is_inside() {
        let x = Tensor::<4>::ones([1, 8, 8, 3], &Device::flex());
        let y = blur_downsample(x);
        assert_eq!(y.dims(), [1, 4, 4, 3]);
        let y: Vec<f32> = y.into_data().try_into_vec().unwrap();
        // A corner lacks the outermost row and column of the filter.
        assert_eq!((y[0], y[5 * 3]), (0.875 * 0.875, 1.0));
    }

    fn random<const D: usize>(item: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let mut rng = stream(7, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), device).require_grad()
    }

    type Map = fn(Tensor<4>, Tensor<4>, Tensor<1>, DepthwiseKind) -> Tensor<4>;

    fn passes(map: Map, x: [usize; 4], kernel: usize, kind: DepthwiseKind) -> [TensorData; 4] {
        let device = Device::flex().autodiff();
        let (channels, x) = (x[3], random(0, x, &device));
        let weight = random(1, [kernel, kernel, 1, channels], &device);
        let bias = random(2, [channels], &device);
        // Values beyond 6 too.
        let y = map(x.clone().mul_scalar(4.0), weight.clone(), bias.clone(), kind);
        let factors = random(3, y.dims(), &device).detach();
        let gradients = (y.clone() * factors).sum().backward();
        [
            y.into_data(),
            x.grad(&gradients).unwrap().into_data(),
            weight.grad(&gradients).unwrap().into_data(),
            bias.grad(&gradients).unwrap().into_data(),
        ]
    }

    fn kinds() -> impl Iterator<Item = DepthwiseKind> {
        let choices = [(1, true, true), (1, false, false), (2, true, true), (2, false, true)];
        choices.into_iter().map(|(stride, relu6_before, relu6_after)| DepthwiseKind {
            stride,
            relu6_before,
            relu6_after,
        })
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions_in_value_and_every_gradient() {
        for kind in kinds() {
            for kernel in DEPTHWISE_KERNELS {
                // Odd and even sizes; whole blocks of channels, parts of them and both.
                for x in [[2, 8, 8, 16], [1, 7, 5, 3], [3, 6, 9, 37], [1, 1, 2, 16]] {
                    let found = passes(depthwise, x, kernel, kind);
                    for (actual, wanted) in
                        found.iter().zip(passes(plain_depthwise, x, kernel, kind))
                    {
                        actual.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-4, 1e-4));
                    }
                }
            }
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let kind = DepthwiseKind { stride: 1, relu6_before: true, relu6_after: true };
            pool.install(|| passes(depthwise, [33, 8, 8, 40], 3, kind))
        };
        assert_eq!(run(1), run(3));
    }
}
