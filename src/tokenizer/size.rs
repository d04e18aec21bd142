//! How large a tokenizer is, from its configuration alone: the numbers that its layers put out, for an estimate of the
//! memory that training takes.

use super::{TokenizerConfig, TokenizerPreset};

impl TokenizerConfig {
    /// Values that the layers put out for one image, in a forward pass of a training step: what a backward pass
    /// has to keep. An estimate for the memory it takes.
    pub fn activations(&self) -> usize {
        let pixels = |halved: usize| (self.image_size >> halved).pow(2);
        let coarse = pixels(self.halvings);
        let per_side = match self.preset {
            TokenizerPreset::Plain => {
                let fine: usize =
                    (1..self.halvings).map(|halved| pixels(halved) * self.width / 2 * 2).sum();
                let block = 2 * self.width + 2 * self.residual_width;
                fine + coarse * (self.width * 3 + self.residual_blocks * block)
            }
            TokenizerPreset::Resnet => {
                let widths = self.level_widths();
                let levels = widths.iter().enumerate().map(|(halved, width)| {
                    // Norm, activation and convolution twice, and the sum.
                    pixels(halved) * width * (self.residual_blocks * 7 + 2)
                });
                let deepest = widths.last().copied().unwrap_or_default();
                levels.sum::<usize>() + coarse * deepest * 2 * 7
            }
            TokenizerPreset::Resnet34 => {
                // Convolution, two steps of the frozen norm and the activation, at half the size, then three
                // blocks of 64 channels at a quarter and four of 128 at an eighth.
                pixels(1) * 64 * 5 + pixels(2) * 64 * 3 * 10 + pixels(3) * 128 * 4 * 10
            }
        };
        2 * per_side + coarse * self.code_dim * 4 + pixels(0) * self.channels * 4
    }
}
