//! The layers of Inception: convolutions with kernels that need not be square, a frozen batch norm and ReLU; and the
//! average pool.

use burn::module::{Module, Param};
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::{AvgPoolOptions, PadMode};
use burn::tensor::{Tensor, s};

use crate::ops::conv::conv2d;
use crate::ops::init::WeightInit;
use crate::ops::relu;

/// As in TensorFlow's net.
const NORM_EPSILON: f32 = 1e-3;

/// A weight without a bias, `[kernel_height, kernel_width, c_in, c_out]` here and `[c_out, c_in, kernel_height,
/// kernel_width]` in files.
#[derive(Module, Debug)]
struct Conv2d {
    weight: Param<Tensor<4>>,
}

/// Batch normalisation with frozen statistics.
#[derive(Module, Debug)]
struct BatchNorm2d {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

/// Convolution, batch norm and ReLU.
#[derive(Module, Debug)]
pub(super) struct BasicConv2d {
    conv: Conv2d,
    bn: BatchNorm2d,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: [usize; 2],
}

impl BasicConv2d {
    /// Stride 1, and the padding that keeps height and width.
    pub(super) fn new(
        c_in: usize,
        c_out: usize,
        kernel: [usize; 2],
        init: &mut WeightInit,
    ) -> Self {
        let [height, width] = kernel;
        let bound = (6.0 / (c_in * height * width) as f32).sqrt();
        Self {
            conv: Conv2d { weight: init.uniform([height, width, c_in, c_out], bound) },
            bn: BatchNorm2d {
                weight: init.constant([c_out], 1.0),
                bias: init.constant([c_out], 0.0),
                running_mean: init.constant([c_out], 0.0),
                running_var: init.constant([c_out], 1.0),
            },
            stride: 1,
            padding: [height / 2, width / 2],
        }
    }

    /// With another stride.
    pub(super) fn strided(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Without padding.
    pub(super) fn unpadded(self) -> Self {
        Self { padding: [0, 0], ..self }
    }

    /// # Shapes
    /// - `x`: `[batch, height, width, c_in]`
    /// - output: `[batch, (height + 2 * padding - kernel) / stride + 1, …, c_out]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.conv.weight.val();
        let [height, width, c_in, c_out] = weight.dims();
        // The norm becomes part of the weight and the bias: a pass over both is cheaper than one over the output.
        let scale = self.bn.running_var.val().add_scalar(NORM_EPSILON).sqrt().recip();
        let scale = self.bn.weight.val() * scale;
        let bias = self.bn.bias.val() - self.bn.running_mean.val() * scale.clone();
        let weight = weight * scale.reshape([1, 1, 1, c_out]);
        if height == width {
            return relu(conv2d(x, weight, Some(bias), self.stride, self.padding[0]));
        }
        // The places under the kernel become channels, for a kernel of one place.
        let weight = weight.reshape([1, 1, height * width * c_in, c_out]);
        let x = neighbours(x, if height == 1 { 2 } else { 1 }, height.max(width));
        relu(conv2d(x, weight, Some(bias), 1, 0))
    }
}

/// At each place, the channels of the `n` places around it along `axis`, one after another; 0 beyond the edge.
///
/// # Shapes
/// - `x`: `[batch, height, width, channels]`
/// - output: `[batch, height, width, n * channels]`
fn neighbours(x: Tensor<4>, axis: usize, n: usize) -> Tensor<4> {
    let extent = x.dims()[axis];
    let padding = |along: usize| if along == axis { (n / 2, n / 2) } else { (0, 0) };
    let padded = x.pad([padding(1), padding(2), (0, 0)], PadMode::Constant(0.0));
    let part = |i: usize| match axis {
        1 => padded.clone().slice(s![.., i..i + extent, .., ..]),
        _ => padded.clone().slice(s![.., .., i..i + extent, ..]),
    };
    Tensor::cat((0..n).map(part).collect(), 3)
}

/// Means of 3x3 places, of those that are inside the image.
///
/// # Shapes
/// - `x` and output: `[batch, height, width, channels]`
pub(super) fn average_pool(x: Tensor<4>) -> Tensor<4> {
    let options = AvgPoolOptions::new([3; 2])
        .with_stride([1; 2])
        .with_padding([1; 2])
        .with_count_include_pad(false);
    avg_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn neighbours_are_those_along_the_axis() {
        let x = Tensor::<4>::from_floats([[[[1.0], [2.0]], [[3.0], [4.0]]]], &Device::flex());
        let across = vec![0.0, 1.0, 2.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 3.0, 4.0, 0.0f32];
        let across = TensorData::new(across, [1, 2, 2, 3]);
        neighbours(x.clone(), 2, 3).into_data().assert_eq(&across, true);
        let down = vec![0.0, 1.0, 3.0, 0.0, 2.0, 4.0, 1.0, 3.0, 0.0, 2.0, 4.0, 0.0f32];
        neighbours(x, 1, 3).into_data().assert_eq(&TensorData::new(down, [1, 2, 2, 3]), true);
    }

    #[test]
    fn padding_is_not_part_of_an_average() {
        let x = Tensor::<4>::from_floats([[[[2.0], [4.0], [6.0]]]], &Device::flex());
        let wanted = TensorData::new(vec![3.0, 4.0, 5.0f32], [1, 1, 3, 1]);
        average_pool(x).into_data().assert_eq(&wanted, true);
    }
}
