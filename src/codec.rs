//! Pixels to codes and back: the one place outside training where images and code ids on the host meet a tokenizer.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::data::pixels;
use crate::tokenizer::{Tokenizer, TokenizerConfig};

/// Images per batch: enough to occupy the cores, few enough for any memory.
pub(crate) const IMAGES_PER_PASS: usize = 64;

/// A tokenizer for inference, and its device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec<'a> {
    tokenizer: &'a Tokenizer,
    device: &'a Device,
}

/// The results of encoding and decoding images.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoundTrip {
    /// `[images, h, w, depth]`.
    pub codes: Vec<u16>,
    /// `[images, height, width, channels]`, the decoder's output before clamping.
    pub values: Vec<f32>,
}

/// Moves images to a device.
///
/// # Shapes
/// - values: `[images, size, size, channels]` in [-0.5, 0.5]
/// - output: the same
pub(crate) fn images_on(
    device: &Device,
    values: Vec<f32>,
    size: usize,
    channels: usize,
) -> Tensor<4> {
    let images = values.len() / (size * size * channels);
    Tensor::from_data(TensorData::new(values, [images, size, size, channels]), device)
}

impl<'a> Codec<'a> {
    /// The tokenizer must not be tracking gradients (`.valid()`).
    pub(crate) fn new(tokenizer: &'a Tokenizer, device: &'a Device) -> Self {
        Self { tokenizer, device }
    }

    /// The tokenizer's configuration.
    pub(crate) fn config(&self) -> &'a TokenizerConfig {
        self.tokenizer.config()
    }

    /// The codes of images, batch by batch.
    ///
    /// # Shapes
    /// - images: u8 `[images, height, width, channels]`
    /// - output: `[images, h, w, depth]`
    pub(crate) fn encode(&self, images: &[u8]) -> Vec<u16> {
        let passes = images.chunks(IMAGES_PER_PASS * self.image_len());
        passes.flat_map(|pass| self.encode_values(pixels::to_model(pass))).collect()
    }

    /// The codes of images in a single batch.
    ///
    /// # Shapes
    /// - values: `[images, height, width, channels]` in [-0.5, 0.5]
    /// - output: `[images, h, w, depth]`
    pub(crate) fn encode_values(&self, values: Vec<f32>) -> Vec<u16> {
        host_codes(self.tokenizer.encode(self.images(values)))
    }

    /// The images of codes, batch by batch.
    ///
    /// # Shapes
    /// - codes: `[images, h, w, depth]`
    /// - output: u8 `[images, height, width, channels]`
    pub(crate) fn decode(&self, codes: &[u16]) -> Vec<u8> {
        let config = self.config();
        let [height, width, depth] = config.grid();
        let mut images = Vec::with_capacity(codes.len() / config.n_codes() * self.image_len());
        for pass in codes.chunks(IMAGES_PER_PASS * config.n_codes()) {
            let ids: Vec<i32> = pass.iter().map(|id| i32::from(*id)).collect();
            let ids = TensorData::new(ids, [pass.len() / config.n_codes(), height, width, depth]);
            let decoded = self.tokenizer.decode(Tensor::<4, Int>::from_data(ids, self.device));
            images.extend(pixels::to_u8(&host_values(decoded)));
        }
        images
    }

    /// Encodes and decodes images in a single batch.
    ///
    /// # Shapes
    /// - values: `[images, height, width, channels]` in [-0.5, 0.5]
    pub(crate) fn round_trip(&self, values: Vec<f32>) -> RoundTrip {
        let codes = self.tokenizer.encode(self.images(values));
        let values = host_values(self.tokenizer.decode(codes.clone()));
        RoundTrip { codes: host_codes(codes), values }
    }

    /// Moves images to the device.
    ///
    /// # Shapes
    /// - values: `[images, height, width, channels]` in [-0.5, 0.5]
    pub(crate) fn images(&self, values: Vec<f32>) -> Tensor<4> {
        let config = self.config();
        images_on(self.device, values, config.image_size, config.channels)
    }

    fn image_len(&self) -> usize {
        let config = self.config();
        config.image_size * config.image_size * config.channels
    }
}

fn host_codes(codes: Tensor<4, Int>) -> Vec<u16> {
    // A codebook has at most 65,536 codes.
    codes.into_data().iter::<i64>().map(|code| code as u16).collect() // sync
}

fn host_values(images: Tensor<4>) -> Vec<f32> {
    images.into_data_as::<f32>().iter::<f32>().collect() // sync
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TokenizerPreset;

    #[test]
    fn more_images_than_a_pass_holds_come_back_as_one_by_one() {
        let config = TokenizerConfig {
            image_size: 8,
            channels: 1,
            preset: TokenizerPreset::Plain,
            width: 8,
            residual_blocks: 1,
            residual_width: 4,
            halvings: 2,
            codebook_size: 16,
            code_dim: 4,
            ..TokenizerConfig::default()
        };
        let device = Device::flex();
        let tokenizer = Tokenizer::new(&config, 3, &device);
        let codec = Codec::new(&tokenizer, &device);
        let n = IMAGES_PER_PASS + 3;
        let images: Vec<u8> = (0..n * 64).map(|i| (i * i / 7 % 251) as u8).collect();
        let codes = codec.encode(&images);
        assert_eq!(codes.len(), n * config.n_codes());
        let decoded = codec.decode(&codes);
        assert_eq!(decoded.len(), images.len());
        for (i, image) in images.chunks(64).enumerate() {
            let of_image = &codes[i * config.n_codes()..(i + 1) * config.n_codes()];
            assert_eq!(codec.encode(image), of_image, "{i}");
            let trip = codec.round_trip(pixels::to_model(image));
            assert_eq!(trip.codes, of_image, "{i}");
            assert_eq!(pixels::to_u8(&trip.values), decoded[i * 64..(i + 1) * 64], "{i}");
            assert_eq!(codec.decode(of_image), decoded[i * 64..(i + 1) * 64], "{i}");
        }
    }
}
