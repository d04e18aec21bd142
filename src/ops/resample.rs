//! Upsampling and pooling over channels-last images.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Int, Tensor, TensorData};
use vqgen_kernels as kernels;

/// Doubles height and width by repeating each pixel.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, 2 * height, 2 * width, channels]`
pub fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    x.reshape([batch * height, 1, width, 1, channels])
        .expand([batch * height, 2, width, 2, channels])
        .reshape([batch, 2 * height, 2 * width, channels])
}

/// Folds blocks of `factor` by `factor` pixels into channels, in the order of PyTorch's `pixel_unshuffle`: of each channel
/// the rows of a block.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`, height and width multiples of `factor`
/// - output: `[batch, height / factor, width / factor, channels * factor^2]`
pub fn space_to_depth(x: Tensor<4>, factor: usize) -> Tensor<4> {
    if factor == 1 {
        return x;
    }
    let [batch, height, width, channels] = x.dims();
    let (h, w) = (height / factor, width / factor);
    x.reshape([batch, h, factor, w, factor, channels]).permute([0, 1, 3, 5, 2, 4]).reshape([
        batch,
        h,
        w,
        channels * factor * factor,
    ])
}

/// The inverse of [`space_to_depth`]: PyTorch's `pixel_shuffle`.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels * factor^2]`
/// - output: `[batch, factor * height, factor * width, channels]`
pub fn depth_to_space(x: Tensor<4>, factor: usize) -> Tensor<4> {
    if factor == 1 {
        return x;
    }
    let [batch, h, w, depth] = x.dims();
    let channels = depth / (factor * factor);
    x.reshape([batch, h, w, channels, factor, factor]).permute([0, 1, 4, 2, 5, 3]).reshape([
        batch,
        h * factor,
        w * factor,
        channels,
    ])
}

/// `factor` times the height and width by bilinear interpolation with half-pixel centres: PyTorch's `interpolate` with
/// `align_corners=False`.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, factor * height, factor * width, channels]`
pub fn enlarge(x: Tensor<4>, factor: usize) -> Tensor<4> {
    if factor == 1 {
        return x;
    }
    if kernels::runs_here(&x) {
        return kernels::enlarge(x, factor);
    }
    plain_enlarge(x, factor)
}

/// What [`enlarge`] computes, in Burn's own operations.
fn plain_enlarge(x: Tensor<4>, factor: usize) -> Tensor<4> {
    enlarge_axis::<2>(enlarge_axis::<1>(x, factor), factor)
}

fn enlarge_axis<const AXIS: usize>(x: Tensor<4>, factor: usize) -> Tensor<4> {
    let (size, device) = (x.dims()[AXIS], x.device());
    let (pairs, weights): (Vec<_>, Vec<f32>) = kernels::neighbours(size, factor).unzip();
    let picked = |which: usize| {
        let ids: Vec<i64> = pairs.iter().map(|pair: &[usize; 2]| pair[which] as i64).collect();
        x.clone().select(AXIS, Tensor::<1, Int>::from_data(ids.as_slice(), &device))
    };
    let mut shape = [1; 4];
    shape[AXIS] = weights.len();
    let weights = Tensor::<4>::from_data(TensorData::new(weights, shape), &device);
    let (first, second) = (picked(0), picked(1));
    first.clone() + (second - first) * weights
}

/// The largest value of each `kernel` x `kernel` window.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, (height + 2 * padding - kernel) / stride + 1, …, channels]`
pub fn max_pool(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let options =
        MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;

    #[test]
    fn blocks_are_folded_into_channels_and_unfolded() {
        let device = Device::flex();
        let x = Tensor::<1, Int>::arange(0..2 * 4 * 6 * 3, &device).float().reshape([2, 4, 6, 3]);
        let folded = space_to_depth(x.clone(), 2);
        assert_eq!(folded.dims(), [2, 2, 3, 12]);
        // The first block: pixels (0, 0), (0, 1), (1, 0), (1, 1) of channel 0, which begin at 0, 3, 18 and 21.
        let first: Vec<f32> = folded.clone().into_data().iter::<f32>().take(6).collect();
        assert_eq!(first, [0.0, 3.0, 18.0, 21.0, 1.0, 4.0]);
        depth_to_space(folded, 2).into_data().assert_eq(&x.into_data(), true);
    }

    #[test]
    fn upsampling_repeats_each_pixel_in_both_directions() {
        let x = Tensor::<4>::from_floats([[[[1.0], [2.0]]]], &Device::flex());
        let wanted = TensorData::new(vec![1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0f32], [1, 2, 4, 1]);
        upsample_nearest(x).into_data().assert_eq(&wanted, true);
    }

    #[test]
    fn enlarging_interpolates_between_pixel_centres() {
        let x = Tensor::<4>::from_floats([[[[0.0], [4.0]]]], &Device::flex());
        let row = [0.0, 1.0, 3.0, 4.0f32];
        let wanted = TensorData::new([row, row].concat(), [1, 2, 4, 1]);
        enlarge(x, 2).into_data().assert_eq(&wanted, true);
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition_in_value_and_gradient() {
        let device = Device::flex().autodiff();
        let random = |item, shape: [usize; 4]| {
            let mut rng = crate::rng::stream(7, crate::rng::Purpose::Weights, 0, item);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        for factor in [2, 3, 4] {
            let passes = |map: fn(Tensor<4>, usize) -> Tensor<4>| {
                let x = random(0, [3, 5, 4, 3]).require_grad();
                let y = map(x.clone(), factor);
                let gradients = (y.clone() * random(1, y.dims())).sum().backward();
                [y.into_data(), x.grad(&gradients).unwrap().into_data()]
            };
            for (actual, wanted) in passes(enlarge).iter().zip(passes(plain_enlarge)) {
                actual.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-5, 1e-5));
            }
        }
    }
}
