//! DiffAugment (Zhao et al. 2020): the discriminator sees images and reconstructions under the same random, but
//! differentiable changes, so that it cannot memorise a small data set.

use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Purpose, Stream, stream};

/// The changes to the images of a batch.
#[derive(Debug)]
pub(super) struct DiffAugment {
    size: [usize; 2],
    images: Vec<OfImage>,
}

/// The changes to one image.
#[derive(Debug, Clone, Copy)]
struct OfImage {
    /// Added to every value, -0.25 to 0.25: a quarter of the range.
    brightness: f32,
    /// The factor on the distance from the pixel's grey, 0 to 2.
    saturation: f32,
    /// The factor on the distance from the image's mean, 0.5 to 1.5.
    contrast: f32,
    /// Rows and columns by which the image moves up and left, to an eighth of its size each way.
    shift: [isize; 2],
    /// The middle of the square of half the image's size that is cut out.
    cut: [isize; 2],
}

impl OfImage {
    fn draw(size: [usize; 2], rng: &mut Stream) -> Self {
        let mut between = |low: f32, high: f32| low + (high - low) * rng.uniform();
        let (brightness, saturation) = (between(-0.25, 0.25), between(0.0, 2.0));
        let contrast = between(0.5, 1.5);
        let shift = size.map(|size| {
            let most = size / 8;
            rng.below(2 * most + 1) as isize - most as isize
        });
        let cut = size.map(|size| rng.below(size) as isize);
        Self { brightness, saturation, contrast, shift, cut }
    }
}

impl DiffAugment {
    /// The changes of step `step`, for `batch` images of this height and width.
    pub(super) fn draw(seed: u64, step: u64, batch: usize, size: [usize; 2]) -> Self {
        let images = (0..batch as u64)
            .map(|item| OfImage::draw(size, &mut stream(seed, Purpose::DiffAugment, step, item)));
        Self { size, images: images.collect() }
    }

    /// # Shapes
    /// - `images`, output: `[batch, height, width, channels]`
    pub(super) fn apply(&self, images: Tensor<4>) -> Tensor<4> {
        let device = images.device();
        let [batch, height, width, channels] = images.dims();
        let of_image = |value: fn(&OfImage) -> f32| {
            let values: Vec<f32> = self.images.iter().map(value).collect();
            Tensor::<4>::from_data(TensorData::new(values, [batch, 1, 1, 1]), &device)
        };
        let images = images + of_image(|image| image.brightness);
        let grey = images.clone().mean_dim(3);
        let images = grey.clone() + (images - grey) * of_image(|image| image.saturation);
        let mean = images.clone().reshape([batch, height * width * channels]).mean_dim(1);
        let mean = mean.reshape([batch, 1, 1, 1]);
        let images = mean.clone() + (images - mean) * of_image(|image| image.contrast);
        // Shifts as products with a matrix of ones and zeros a side: gathers are serial on some devices.
        let [rows, columns] = [0, 1].map(|axis| self.shifts(axis, &device));
        let images = rows.matmul(images.reshape([batch, height, width * channels]));
        let images = images.reshape([batch, height, width, channels]).swap_dims(1, 2);
        let images = columns.matmul(images.reshape([batch, width, height * channels]));
        let images = images.reshape([batch, width, height, channels]).swap_dims(1, 2);
        images * self.mask(&device)
    }

    /// For each image the matrix that moves its rows (`axis` 0) or columns, `[batch, size, size]`.
    fn shifts(&self, axis: usize, device: &Device) -> Tensor<3> {
        let size = self.size[axis];
        let mut values = vec![0.0f32; self.images.len() * size * size];
        for (image, matrix) in self.images.iter().zip(values.chunks_exact_mut(size * size)) {
            for (to, row) in matrix.chunks_exact_mut(size).enumerate() {
                if let Some(one) = row.get_mut((to as isize + image.shift[axis]) as usize) {
                    *one = 1.0;
                }
            }
        }
        Tensor::from_data(TensorData::new(values, [self.images.len(), size, size]), device)
    }

    /// 0 in the squares that are cut out, 1 elsewhere, `[batch, height, width, 1]`.
    fn mask(&self, device: &Device) -> Tensor<4> {
        let [height, width] = self.size;
        let mut values = Vec::with_capacity(self.images.len() * height * width);
        let [half_rows, half_columns] = self.size.map(|size| size as isize / 4);
        for image in &self.images {
            for row in 0..height as isize {
                let in_rows = (row - image.cut[0]).abs() < half_rows;
                values.extend((0..width as isize).map(|column| {
                    let is_cut = in_rows && (column - image.cut[1]).abs() < half_columns;
                    if is_cut { 0.0 } else { 1.0f32 }
                }));
            }
        }
        Tensor::from_data(TensorData::new(values, [self.images.len(), height, width, 1]), device)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    fn only(image: OfImage, size: [usize; 2]) -> DiffAugment {
        DiffAugment { size, images: vec![image] }
    }

    /// Changes nothing; what is cut out lies outside.
    const NOTHING: OfImage =
        OfImage { brightness: 0.0, saturation: 1.0, contrast: 1.0, shift: [0, 0], cut: [99, 99] };

    fn near(actual: Tensor<4>, wanted: &[f32]) {
        let actual = actual.into_data().try_into_vec::<f32>().unwrap();
        let (actual, wanted) = (TensorData::from(&actual[..]), TensorData::from(wanted));
        actual.assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
    }

    #[test]
    fn each_change_is_what_its_name_says() {
        let device = Device::flex();
        let image =
            || Tensor::<1>::from_floats([0.0, 0.3, 0.2, 0.4], &device).reshape([1, 1, 2, 2]);
        let apply = |one| only(one, [1, 2]).apply(image());
        near(apply(NOTHING), &[0.0, 0.3, 0.2, 0.4]);
        near(apply(OfImage { brightness: 0.1, ..NOTHING }), &[0.1, 0.4, 0.3, 0.5]);
        near(apply(OfImage { saturation: 0.0, ..NOTHING }), &[0.15, 0.15, 0.3, 0.3]);
        // The mean of the image is .225.
        near(apply(OfImage { contrast: 2.0, ..NOTHING }), &[-0.225, 0.375, 0.175, 0.575]);
        near(apply(OfImage { shift: [0, 1], ..NOTHING }), &[0.2, 0.4, 0.0, 0.0]);
        near(apply(OfImage { shift: [0, -1], ..NOTHING }), &[0.0, 0.0, 0.0, 0.3]);
        near(apply(OfImage { shift: [1, 0], ..NOTHING }), &[0.0; 4]);
    }

    #[test]
    fn a_square_of_half_the_size_is_cut_out() {
        let device = Device::flex();
        let cut = only(OfImage { cut: [0, 4], ..NOTHING }, [8, 8]);
        let left: f32 = cut.apply(Tensor::ones([1, 8, 8, 1], &device)).sum().into_scalar();
        // Rows -1 to 1, of which two are inside, and columns 3 to 5.
        assert_eq!(left, 64.0 - 6.0);
    }

    #[test]
    fn the_gradient_passes_through_and_the_draw_depends_on_its_key_alone() {
        let device = Device::flex().autodiff();
        let images = Tensor::<4>::full([3, 16, 16, 3], 0.25, &device).require_grad();
        let augment = DiffAugment::draw(1, 2, 3, [16, 16]);
        let changed = augment.apply(images.clone());
        let gradients = changed.clone().sum().backward();
        let gradient: f32 = images.grad(&gradients).unwrap().abs().sum().into_scalar();
        assert!(gradient > 0.0);
        let again = DiffAugment::draw(1, 2, 3, [16, 16]).apply(images.clone());
        changed.clone().into_data().assert_eq(&again.into_data(), true);
        let other = DiffAugment::draw(1, 3, 3, [16, 16]).apply(images);
        assert_ne!(changed.into_data(), other.into_data());
    }
}
