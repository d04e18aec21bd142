//! Feature nets: how alike images are to a trained eye. Tensors in, tensors out; their weights come from files, which
//! they do not know, and are never trained. Images are those of the tokenizer: `[batch, height, width, channels]` in
//! [-0.5, 0.5], grey or colour.

mod builtin;
mod efficientnet;

mod lpips;
mod rgb;
mod vgg;

mod inception;

use burn::tensor::Tensor;

pub use builtin::BuiltinNet;
pub use efficientnet::EfficientNet;
pub use inception::Inception;
pub use lpips::{LinearLayers, Lpips};
pub use vgg::Vgg16;

/// A net that describes an image by one vector.
pub trait PooledNet {
    /// Length of a vector.
    fn n_features(&self) -> usize;

    /// The vectors of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5], with 1 or 3 channels
    /// - output: `[batch, n_features]`
    fn pooled(&self, images: Tensor<4>) -> Tensor<2>;
}

impl PooledNet for BuiltinNet {
    fn n_features(&self) -> usize {
        BuiltinNet::FEATURES
    }

    fn pooled(&self, images: Tensor<4>) -> Tensor<2> {
        Self::pooled(self, images)
    }
}
