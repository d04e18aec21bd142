//! Upsampling and pooling over channels-last images.

use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

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
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn upsampling_repeats_each_pixel_in_both_directions() {
        let x = Tensor::<4>::from_floats([[[[1.0], [2.0]]]], &Device::flex());
        let wanted = TensorData::new(vec![1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0f32], [1, 2, 4, 1]);
        upsample_nearest(x).into_data().assert_eq(&wanted, true);
    }
}
