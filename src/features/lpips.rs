//! LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1 with
//! VGG16, as PyPI `lpips` computes it: at each place of each stage, features are divided by their norm; the squared
//! differences of their channels are weighted by a learned vector and summed, then averaged over the places, and the
//! stages are added up.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::rgb::normalised;
use super::vgg::Vgg16;
use crate::ops::conv::{Conv2d, ConvShape};
use crate::ops::direction::direction_distance;
use crate::ops::init::WeightInit;

/// Mean and deviation of the channels, which the package gives for images in [-1, 1], for those in [-0.5, 0.5].
const SHIFT: [f32; 3] = [-0.030 / 2.0, -0.088 / 2.0, -0.188 / 2.0];
const SCALE: [f32; 3] = [0.458 / 2.0, 0.448 / 2.0, 0.450 / 2.0];

/// The weights of one stage's channels, with the package's parameter names.
#[derive(Module, Debug)]
struct LinearLayer {
    /// Dropout, which has no parameters and does nothing here, and a 1x1 convolution to one channel.
    model: Vec<Option<Conv2d>>,
}

/// The learned part of LPIPS: weights of the channels of each stage.
#[derive(Module, Debug)]
pub struct LinearLayers {
    lin0: LinearLayer,
    lin1: LinearLayer,
    lin2: LinearLayer,
    lin3: LinearLayer,
    lin4: LinearLayer,
}

impl LinearLayers {
    /// Layers whose weights are to be loaded.
    pub fn new(device: &Device) -> Self {
        let mut init = WeightInit::new(0, device);
        let [lin0, lin1, lin2, lin3, lin4] = Vgg16::CHANNELS.map(|channels| {
            let shape = ConvShape::same(channels, 1, 1).without_bias();
            LinearLayer { model: vec![None, Some(Conv2d::new(shape, &mut init))] }
        });
        Self { lin0, lin1, lin2, lin3, lin4 }.no_grad()
    }

    fn layers(&self) -> [&LinearLayer; 5] {
        [&self.lin0, &self.lin1, &self.lin2, &self.lin3, &self.lin4]
    }
}

/// LPIPS with frozen weights.
#[derive(Debug, Clone)]
pub struct Lpips {
    vgg: Vgg16,
    linear: LinearLayers,
}

impl Lpips {
    /// The smallest height or width of images that can be compared.
    pub const SMALLEST: usize = Vgg16::SMALLEST;

    /// Of loaded parts on one device.
    pub fn new(vgg: Vgg16, linear: LinearLayers) -> Self {
        Self { vgg, linear }
    }

    /// The same net without autodiff.
    pub fn valid(&self) -> Self {
        Self { vgg: self.vgg.valid(), linear: self.linear.valid() }
    }

    /// Activations that [`Self::distance`] keeps for the backward pass, for each image of `size` pixels a side.
    pub fn activations(&self, size: usize) -> usize {
        // The features of each stage are kept once more, for the distance.
        let of_distance = |stage: usize| (size >> stage).pow(2) * Vgg16::CHANNELS[stage];
        self.vgg.activations(size) + (0..Vgg16::CHANNELS.len()).map(of_distance).sum::<usize>()
    }

    /// The distance between two sets of images, the mean over pairs: 0 for equal ones, the larger the less alike. The
    /// gradient reaches images that require it and no weights.
    ///
    /// # Shapes
    /// - `x`, `y`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels, at least [`Self::SMALLEST`]
    ///   pixels high and wide
    /// - output: `[1]`
    pub fn distance(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        let device = x.device();
        let [x, y] = [x, y].map(|images| self.vgg.stages(normalised(images, SHIFT, SCALE)));
        let pairs = x.into_iter().zip(y).zip(self.linear.layers());
        pairs.fold(Tensor::zeros([1], &device), |sum, ((x, y), layer)| {
            let [batch, height, width, channels] = x.dims();
            let rows = [batch * height * width, channels];
            let weights = layer.model.iter().flatten().map(|convolution| convolution.weight.val());
            let distance = weights.fold(Tensor::zeros([1], &device), |sum, weight| {
                let (x, y) = (x.clone().reshape(rows), y.clone().reshape(rows));
                sum + direction_distance(x, y, weight.reshape([channels]))
            });
            sum + distance
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    fn images(device: &Device, factor: usize) -> Tensor<4> {
        let values: Vec<f32> =
            (0..2 * 16 * 17 * 3).map(|i| (i * factor % 101) as f32 / 100.0 - 0.5).collect();
        Tensor::from_data(TensorData::new(values, [2, 16, 17, 3]), device)
    }

    #[test]
    fn equal_images_have_no_distance_and_pairs_are_averaged() {
        let device = Device::flex();
        let lpips = Lpips::new(Vgg16::new(&device), LinearLayers::new(&device));
        let (a, b) = (images(&device, 7), images(&device, 13));
        let distance = |a: Tensor<4>, b: Tensor<4>| lpips.distance(a, b).into_scalar::<f32>();
        assert_eq!(distance(a.clone(), a.clone()), 0.0);
        let pair = |at: usize| distance(a.clone().narrow(0, at, 1), b.clone().narrow(0, at, 1));
        let (mean, both) = ((pair(0) + pair(1)) / 2.0, distance(a.clone(), b.clone()));
        assert!((mean - both).abs() < 1e-5 * mean.abs(), "{mean} {both}");
    }

    #[test]
    fn black_images_have_finite_gradients() {
        // Features of a constant image may all be 0, and the root of 0 has no gradient.
        let device = Device::flex().autodiff();
        let lpips = Lpips::new(Vgg16::new(&device), LinearLayers::new(&device));
        let a = Tensor::<4>::zeros([1, 16, 16, 3], &device) - 0.5;
        let a = a.require_grad();
        let b = images(&device, 7).narrow(0, 0, 1).narrow(2, 0, 16);
        let gradients = lpips.distance(a.clone(), b).backward();
        let gradient: Vec<f32> = a.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
        assert!(gradient.iter().all(|value| value.is_finite()));
    }
}
