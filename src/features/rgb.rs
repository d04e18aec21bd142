//! The input of nets that were trained on colour images.

use burn::tensor::Tensor;

/// `(images - shift) / scale` of each channel; grey images become colour first.
///
/// # Shapes
/// - `images`: `[batch, height, width, 1 or 3]`
/// - output: `[batch, height, width, 3]`
pub(super) fn normalised(images: Tensor<4>, shift: [f32; 3], scale: [f32; 3]) -> Tensor<4> {
    let [batch, height, width, channels] = images.dims();
    let images = match channels {
        1 => images.expand([batch, height, width, 3]),
        _ => images,
    };
    let row =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &images.device()).reshape([1, 1, 1, 3]);
    let (shift, scale) = (row(shift), row(scale.map(f32::recip)));
    (images - shift) * scale
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn channels_are_normalised_each_by_its_own_and_grey_becomes_colour() {
        let images = Tensor::<4>::from_floats([[[[1.0], [3.0]]]], &Device::flex());
        let wanted = TensorData::new(vec![1.0, 0.0, -0.25, 3.0, 1.0, 0.25f32], [1, 1, 2, 3]);
        normalised(images, [0.0, 1.0, 2.0], [1.0, 2.0, 4.0]).into_data().assert_eq(&wanted, true);
    }
}
