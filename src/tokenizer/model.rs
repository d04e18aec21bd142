//! The tokenizer: encoder, codebook and decoder combined.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use super::plain::{PlainDecoder, PlainEncoder};
use super::quantizer::{Quantized, Quantizer};
use super::resnet::{ResnetDecoder, ResnetEncoder};
use super::resnet34::Resnet34Encoder;
use super::{GradientEstimator, TokenizerConfig, TokenizerPreset};
use crate::ops::init::WeightInit;

/// Images to latents.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // one encoder per model: the size of the enum does not matter
pub enum Encoder {
    /// See [`PlainEncoder`].
    Plain(PlainEncoder),
    /// See [`ResnetEncoder`].
    Resnet(ResnetEncoder),
    /// See [`Resnet34Encoder`].
    Resnet34(Resnet34Encoder),
}

/// Quantized latents to images.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // as above
pub enum Decoder {
    /// See [`PlainDecoder`].
    Plain(PlainDecoder),
    /// See [`ResnetDecoder`].
    Resnet(ResnetDecoder),
}

/// The whole tokenizer.
#[derive(Module, Debug)]
pub struct Tokenizer {
    /// Images to latents.
    pub encoder: Encoder,
    /// Latents to codes and back. The field is named as its tensors are in files.
    pub codebook: Quantizer,
    /// Quantized latents to images.
    pub decoder: Decoder,
    #[module(skip)]
    config: TokenizerConfig,
}

/// The results of a forward pass that training needs.
#[derive(Debug, Clone)]
pub struct TokenizerOutput {
    /// `[batch, height, width, channels]`, not clamped.
    pub reconstruction: Tensor<4>,
    /// Codes, latents and the quantizer's loss terms.
    pub quantized: Quantized,
}

impl Tokenizer {
    /// A newly initialised tokenizer. The configuration must be [valid](TokenizerConfig::validate).
    pub fn new(config: &TokenizerConfig, seed: u64, device: &Device) -> Self {
        let init = &mut WeightInit::new(seed, device);
        let encoder = match config.preset {
            TokenizerPreset::Plain | TokenizerPreset::Wide => {
                Encoder::Plain(PlainEncoder::new(config, init))
            }
            TokenizerPreset::Resnet => Encoder::Resnet(ResnetEncoder::new(config, init)),
            TokenizerPreset::Resnet34 => Encoder::Resnet34(Resnet34Encoder::new(config, init)),
        };
        let codebook = Quantizer::new(config, init);
        let decoder = match config.preset {
            TokenizerPreset::Plain | TokenizerPreset::Wide => {
                Decoder::Plain(PlainDecoder::new(config, init))
            }
            TokenizerPreset::Resnet | TokenizerPreset::Resnet34 => {
                Decoder::Resnet(ResnetDecoder::new(config, init))
            }
        };
        Self { encoder, codebook, decoder, config: config.clone() }
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5]
    /// - output: `[batch, h, w, code_dim]`
    pub fn latents(&self, images: Tensor<4>) -> Tensor<4> {
        match &self.encoder {
            Encoder::Plain(encoder) => encoder.forward(images),
            Encoder::Resnet(encoder) => encoder.forward(images),
            Encoder::Resnet34(encoder) => encoder.forward(images),
        }
    }

    /// # Shapes
    /// - `latents`: `[batch, h, w, code_dim]`, quantized
    /// - output: `[batch, height, width, channels]`, not clamped
    pub fn images(&self, latents: Tensor<4>) -> Tensor<4> {
        match &self.decoder {
            Decoder::Plain(decoder) => decoder.forward(latents),
            Decoder::Resnet(decoder) => decoder.forward(latents),
        }
    }

    /// Activations that the forward pass keeps per image for the backward pass: an estimate of training memory.
    pub fn activations(&self) -> usize {
        let (size, grid) = (self.config.image_size, self.config.grid_size());
        let encoder = match &self.encoder {
            Encoder::Plain(encoder) => encoder.activations(size),
            Encoder::Resnet(encoder) => encoder.activations(size),
            Encoder::Resnet34(encoder) => encoder.activations(size),
        };
        let decoder = match &self.decoder {
            Decoder::Plain(decoder) => decoder.activations(grid),
            Decoder::Resnet(decoder) => decoder.activations(grid),
        };
        // The image, its difference from the reconstruction, and the square of that.
        let loss = 3 * size * size * self.config.channels;
        encoder + self.codebook.activations(grid * grid) + decoder + loss
    }

    /// Images to codes.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5]
    /// - output: `[batch, h, w, depth]`
    pub fn encode(&self, images: Tensor<4>) -> Tensor<4, Int> {
        let latents = self.latents(images);
        let [batch, h, w, dim] = latents.dims();
        let codes = self.codebook.assign(latents.reshape([batch * h * w, dim])); // [n, depth]
        codes.reshape([batch, h, w, self.config.depth])
    }

    /// Codes to images.
    ///
    /// # Shapes
    /// - `codes`: `[batch, h, w, depth]`, each below the codebook size
    /// - output: `[batch, height, width, channels]`, not clamped
    pub fn decode(&self, codes: Tensor<4, Int>) -> Tensor<4> {
        let [batch, h, w, depth] = codes.dims();
        let latents = self.codebook.lookup(codes.reshape([batch * h * w, depth]));
        self.images(latents.reshape([batch, h, w, self.config.code_dim]))
    }

    /// A forward pass for training: the reconstruction passes gradients through the codes, by `estimator`.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]` in [-0.5, 0.5]
    pub fn forward(&self, images: Tensor<4>, estimator: GradientEstimator) -> TokenizerOutput {
        let latents = self.latents(images);
        let [batch, h, w, dim] = latents.dims();
        let quantized = self.codebook.quantize(latents.reshape([batch * h * w, dim]), estimator);
        let grid = quantized.straight_through.clone().reshape([batch, h, w, dim]);
        TokenizerOutput { reconstruction: self.images(grid), quantized }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Gradients;

    use super::*;

    fn config(preset: TokenizerPreset) -> TokenizerConfig {
        let plain = TokenizerConfig {
            image_size: 16,
            channels: 3,
            preset,
            width: 8,
            residual_blocks: 1,
            residual_width: 4,
            halvings: 2,
            codebook_size: 7,
            code_dim: 5,
            ..TokenizerConfig::default()
        };
        match preset {
            TokenizerPreset::Plain | TokenizerPreset::Wide => plain,
            TokenizerPreset::Resnet => {
                TokenizerConfig { channel_multipliers: vec![1, 2, 2], attention: true, ..plain }
            }
            TokenizerPreset::Resnet34 => TokenizerConfig { width: 16, halvings: 3, ..plain },
        }
    }

    const PRESETS: [TokenizerPreset; 4] = [
        TokenizerPreset::Plain,
        TokenizerPreset::Wide,
        TokenizerPreset::Resnet,
        TokenizerPreset::Resnet34,
    ];

    fn images(device: &Device) -> Tensor<4> {
        let mut rng = crate::rng::stream(1, crate::rng::Purpose::Weights, 0, 0);
        let pixels: Vec<f32> = (0..2 * 16 * 16 * 3).map(|_| rng.uniform() - 0.5).collect();
        Tensor::<1>::from_floats(pixels.as_slice(), device).reshape([2, 16, 16, 3])
    }

    #[test]
    fn images_become_a_grid_of_codes_and_codes_become_images() {
        let device = Device::flex();
        for preset in PRESETS {
            let config = config(preset);
            config.validate().unwrap();
            let tokenizer = Tokenizer::new(&config, 0, &device);
            let codes = tokenizer.encode(images(&device));
            let grid = config.grid_size();
            assert_eq!(codes.dims(), [2, grid, grid, 1], "{preset:?}");
            let highest: i64 = codes.clone().max().into_scalar();
            assert!(highest < 7);
            assert_eq!(tokenizer.decode(codes).dims(), [2, 16, 16, 3], "{preset:?}");
        }
    }

    #[test]
    fn decoding_the_codes_gives_the_reconstruction_of_the_training_pass() {
        let device = Device::flex();
        for preset in PRESETS {
            let tokenizer = Tokenizer::new(&config(preset), 0, &device);
            let output = tokenizer.forward(images(&device), GradientEstimator::StraightThrough);
            let decoded = tokenizer.decode(tokenizer.encode(images(&device)));
            let worst = (output.reconstruction - decoded).abs().max().into_scalar::<f32>();
            assert!(worst < 1e-5, "{preset:?} differs by {worst}");
        }
    }

    struct Unreached<'a>(&'a Gradients, Vec<String>, Vec<String>);

    impl ModuleVisitor for Unreached<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if value.is_require_grad() && value.grad(self.0).is_none() {
                self.2.push(self.1.join("."));
            }
        }
    }

    #[test]
    fn the_gradient_reaches_every_parameter() {
        let device = Device::flex().autodiff();
        for preset in PRESETS {
            let tokenizer = Tokenizer::new(&config(preset), 0, &device);
            let output = tokenizer.forward(images(&device), GradientEstimator::StraightThrough);
            let difference = output.reconstruction - images(&device);
            let terms = output.quantized.terms.into_iter().map(|term| term.value);
            let loss = terms.fold(difference.square().mean(), |sum, term| sum + term);
            let gradients = loss.backward();
            let mut unreached = Unreached(&gradients, Vec::new(), Vec::new());
            tokenizer.visit(&mut unreached);
            assert!(unreached.2.is_empty(), "{preset:?}: {:?}", unreached.2);
        }
    }

    /// What is kept, written down layer by layer: pixels times channels.
    #[test]
    fn what_a_training_pass_keeps_is_known_before_there_are_weights() {
        let plain_block = 8 + 4 + 4 + 8;
        let plain = [
            64 * 4 + 64 * 4 + 16 * 8,               // down, ReLU, down
            16 * (8 + 8 + plain_block + 8 + 5),     // ReLU, mix, block, ReLU, latents
            3 * 16 * 5,                             // the quantizer
            16 * (8 + plain_block),                 // from the codes, block
            16 * 8 + 64 * 4 + 64 * 4 + 16 * 16 * 3, // ReLU, up, ReLU, up
            3 * 16 * 16 * 3,                        // the loss
        ];
        let wide = [
            64 * 8 + 64 * 8 + 16 * 8, // down, ReLU, down
            plain[1..4].iter().sum(),
            16 * 8 + 64 * (8 + plain_block), // ReLU, up, block
            64 * 8 + 16 * 16 * 3,            // ReLU, up
            plain[5],
        ];
        // Norm, SiLU and convolution, twice, the second with the sum: 6 where the channels stay.
        let (widening, narrowing) = (2 * 8 + 4 * 16, 2 * 16 + 4 * 8);
        let attention = 16 + 3 * 16 + 16 + 16 + 16; // 16 positions and 16 channels
        let resnet = [
            256 * (8 + 6 * 8),                           // stem, block
            64 * (8 + widening),                         // down, block
            16 * (16 + 6 * 16),                          // down, block
            16 * (2 * 6 * 16 + attention + 2 * 16 + 5),  // middle, norm, SiLU, latents
            3 * 16 * 5,                                  // the quantizer
            16 * (16 + 2 * 6 * 16 + attention + 6 * 16), // from the codes, middle, block
            64 * (2 * 16 + 6 * 16),                      // upsampled, convolved, block
            256 * (2 * 16 + narrowing),                  // upsampled, convolved, block
            256 * (2 * 8 + 3) + 3 * 16 * 16 * 3,         // norm, SiLU, image; the loss
        ];
        let resnet34 = [
            256 * 3 + 64 * 64 * 2 + 16 * 64, // colours, stem and its ReLU, maxima
            3 * 16 * 64 * 4,                 // two convolutions, two ReLUs
            4 * 128 * (5 + 3 * 4) + 4 * 5,   // the first with a convolution as shortcut; latents
            3 * 4 * 5,                       // the quantizer
            4 * (16 + 3 * 6 * 16),           // from the codes, middle, block
            16 * (2 * 16 + 2 * 16 + 4 * 8),  // upsampled, convolved, block
            64 * (2 * 8 + 2 * 8 + 4 * 4),    // the same
            256 * (2 * 4 + 2 * 4 + 4 * 2),   // the same
            256 * (2 * 2 + 3) + 3 * 16 * 16 * 3, // norm, SiLU, image; the loss
        ];
        let device = Device::flex();
        for (preset, expected) in PRESETS.into_iter().zip([&plain[..], &wide, &resnet, &resnet34]) {
            let tokenizer = Tokenizer::new(&config(preset), 0, &device);
            assert_eq!(tokenizer.activations(), expected.iter().sum::<usize>(), "{preset:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_model() {
        let device = Device::flex();
        let codes = |seed| {
            let tokenizer = Tokenizer::new(&config(TokenizerPreset::Plain), seed, &device);
            tokenizer.latents(images(&device)).into_data()
        };
        codes(3).assert_eq(&codes(3), true);
        assert_ne!(codes(3), codes(4));
    }
}
