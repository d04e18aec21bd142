//! The nets that judge images, and the passes of images through them.

use burn::tensor::{Device, Tensor};

use super::{ImageSet, ImageShape};
use crate::codec::images_on;
use crate::data::pixels;
use crate::features::{BuiltinNet, Inception, Lpips, PooledNet};

/// Pixels of a pass through a net that keeps the size of images: 64 images of 64 by 64 pixels.
const PIXELS_PER_PASS: usize = 64 * 64 * 64;
/// Images of a pass through Inception, which enlarges them to 299 by 299 pixels.
const IMAGES_PER_INCEPTION: usize = 8;

/// Feature nets on one device.
#[derive(Debug)]
pub(crate) struct Judges {
    pub builtin: BuiltinNet,
    pub lpips: Option<Lpips>,
    pub inception: Option<Inception>,
    pub device: Device,
    /// Of the images that they see: square, with 1 or 3 channels.
    pub shape: ImageShape,
}

/// Sums over pairs of images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct PairSums {
    /// The built-in net's distances.
    pub builtin: f64,
    /// LPIPS; 0 where it is not asked.
    pub lpips: f64,
}

impl Judges {
    /// A set that will have `n_images`.
    pub(crate) fn set(&self, n_images: usize) -> ImageSet {
        let inception = self.inception.as_ref().map(PooledNet::n_features);
        ImageSet::new(n_images, self.shape, self.builtin.n_features(), inception)
    }

    /// Adds u8 images `[n, height, width, channels]` to a set.
    pub(crate) fn see(&self, images: &[u8], set: &mut ImageSet) {
        set.add_patches(images);
        set.builtin.add(&self.features(images));
        if let (Some(net), Some(features)) = (&self.inception, &mut set.inception) {
            features.add(&self.pooled(net, images, IMAGES_PER_INCEPTION));
        }
    }

    /// The built-in net's features of u8 images, `[n, n_features]`.
    pub(crate) fn features(&self, images: &[u8]) -> Vec<f32> {
        self.pooled(&self.builtin, images, self.images_per_pass())
    }

    /// The length of [`Self::features`] of an image.
    pub(crate) fn n_features(&self) -> usize {
        self.builtin.n_features()
    }

    /// The sums of the distances of u8 images from their partners.
    pub(crate) fn compare(&self, originals: &[u8], others: &[u8]) -> PairSums {
        let pass = self.images_per_pass() * self.shape.image_len();
        let mut sums = PairSums::default();
        for (a, b) in originals.chunks(pass).zip(others.chunks(pass)) {
            let n = (a.len() / self.shape.image_len()) as f64;
            let (a, b) = (self.tensor(a), self.tensor(b));
            let value = |mean: Tensor<1>| n * f64::from(mean.into_scalar::<f32>()); // sync
            if let Some(lpips) = &self.lpips {
                sums.lpips += value(lpips.distance(a.clone(), b.clone()));
            }
            sums.builtin += value(self.builtin.distance(a, b));
        }
        sums
    }

    fn images_per_pass(&self) -> usize {
        (PIXELS_PER_PASS / (self.shape.height * self.shape.width)).clamp(1, 64)
    }

    fn pooled(&self, net: &impl PooledNet, images: &[u8], images_per_pass: usize) -> Vec<f32> {
        let passes = images.chunks(images_per_pass * self.shape.image_len());
        let features = passes.flat_map(|pass| {
            let features = net.pooled(self.tensor(pass)).into_data_as::<f32>(); // sync
            features.iter::<f32>().collect::<Vec<_>>()
        });
        features.collect()
    }

    fn tensor(&self, images: &[u8]) -> Tensor<4> {
        let ImageShape { height, channels, .. } = self.shape;
        images_on(&self.device, pixels::to_model(images), height, channels)
    }
}
