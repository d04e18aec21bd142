//! How large a tokenizer is, from its configuration alone: the numbers in its parameters, so that whoever reads a
//! configuration from a file can compare it with the file before a model of that size is built, and the numbers
//! that its layers put out, for an estimate of the memory that training takes. The layers are those of
//! [`Tokenizer::new`](super::Tokenizer::new); a test holds the parameters and the model together.

use super::{TokenizerConfig, TokenizerPreset};

/// A convolution with a bias.
fn conv(c_in: u64, c_out: u64, kernel: u64) -> u64 {
    c_in * c_out * kernel * kernel + c_out
}

/// GroupNorm, SiLU, convolution, twice, and the shortcut where the channels change.
fn resnet_block(c_in: u64, c_out: u64) -> u64 {
    let shortcut = if c_in == c_out { 0 } else { conv(c_in, c_out, 1) };
    2 * c_in + conv(c_in, c_out, 3) + 2 * c_out + conv(c_out, c_out, 3) + shortcut
}

impl TokenizerConfig {
    /// Numbers in all parameters, trained or not. The configuration must be [valid](Self::validate).
    pub fn n_parameters(&self) -> u64 {
        let codebook = self.codebook_size as u64 * self.code_dim as u64;
        let model = match self.preset {
            TokenizerPreset::Plain => self.plain_parameters(),
            TokenizerPreset::Resnet => self.resnet_encoder() + self.resnet_decoder(),
            TokenizerPreset::Resnet34 => self.resnet34_encoder() + self.resnet_decoder(),
        };
        model + codebook
    }

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

    fn plain_parameters(&self) -> u64 {
        let [width, hidden, blocks] =
            [self.width, self.residual_width, self.residual_blocks].map(|n| n as u64);
        let [channels, dim, halvings] =
            [self.channels, self.code_dim, self.halvings].map(|n| n as u64);
        let blocks = blocks * (width * hidden * 9 + hidden * width);
        let half = width / 2;
        // The way down and the way up: all halvings but one at half the width.
        let (down, up) = match halvings {
            1 => (conv(channels, width, 4), conv(width, channels, 4)),
            _ => {
                let between = (halvings - 2) * conv(half, half, 4);
                let down = conv(channels, half, 4) + between + conv(half, width, 4);
                (down, conv(width, half, 4) + between + conv(half, channels, 4))
            }
        };
        let encoder = down + conv(width, width, 3) + blocks + conv(width, dim, 1);
        encoder + conv(dim, width, 3) + blocks + up
    }

    fn resnet_encoder(&self) -> u64 {
        let widths = self.level_widths();
        let first = widths.first().map_or(0, |width| *width as u64);
        let (levels, last) = self.resnet_levels(first, widths.into_iter());
        let stem = conv(self.channels as u64, first, 3);
        stem + levels + self.middle(last) + 2 * last + conv(last, self.code_dim as u64, 1)
    }

    fn resnet_decoder(&self) -> u64 {
        let widths = self.level_widths();
        let first = widths.last().map_or(0, |width| *width as u64);
        let (levels, last) = self.resnet_levels(first, widths.into_iter().rev());
        let from_codes = conv(self.code_dim as u64, first, 3);
        from_codes + self.middle(first) + levels + 2 * last + conv(last, self.channels as u64, 3)
    }

    /// The blocks of each resolution and the convolution to the next, and the channels after the last.
    fn resnet_levels(&self, first: u64, widths: impl Iterator<Item = usize>) -> (u64, u64) {
        let (mut n, mut channels) = (0, first);
        for (i, width) in widths.enumerate() {
            for _ in 0..self.residual_blocks {
                n += resnet_block(channels, width as u64);
                channels = width as u64;
            }
            if i < self.halvings {
                n += conv(channels, channels, 3);
            }
        }
        (n, channels)
    }

    /// Two blocks, and attention between them if asked for.
    fn middle(&self, channels: u64) -> u64 {
        let linear = |out: u64| channels * out + out;
        let attention = 2 * channels + linear(3 * channels) + linear(channels);
        2 * resnet_block(channels, channels) + if self.attention { attention } else { 0 }
    }

    fn resnet34_encoder(&self) -> u64 {
        // A convolution without bias and its frozen batch norm of four numbers a channel.
        let normed =
            |c_in: u64, c_out: u64, kernel: u64| c_in * c_out * kernel * kernel + 4 * c_out;
        let stem = normed(self.channels as u64, 64, 7);
        let first = 3 * 2 * normed(64, 64, 3);
        let second = normed(64, 128, 3) + 7 * normed(128, 128, 3) + normed(64, 128, 1);
        stem + first + second + conv(128, self.code_dim as u64, 1)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Device;

    use super::*;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn the_count_is_that_of_the_model_for_every_shape() {
        let base = TokenizerConfig {
            image_size: 32,
            channels: 3,
            preset: TokenizerPreset::Plain,
            width: 16,
            channel_multipliers: Vec::new(),
            residual_blocks: 2,
            residual_width: 6,
            halvings: 3,
            attention: false,
            codebook_size: 11,
            code_dim: 5,
            normalize_codes: false,
        };
        let resnet34 = TokenizerConfig { preset: TokenizerPreset::Resnet34, ..base.clone() };
        let mut configs =
            vec![resnet34.clone(), TokenizerConfig { residual_blocks: 0, ..resnet34 }];
        for halvings in 1..=5 {
            for residual_blocks in [0, 1, 3] {
                for channels in [1, 3] {
                    let plain =
                        TokenizerConfig { halvings, residual_blocks, channels, ..base.clone() };
                    let resnet = TokenizerConfig {
                        preset: TokenizerPreset::Resnet,
                        channel_multipliers: [1, 2, 2, 1, 3, 1][..=halvings].to_vec(),
                        attention: channels == 3,
                        ..plain.clone()
                    };
                    configs.extend([plain, resnet]);
                }
            }
        }
        for config in configs {
            assert!(config.validate().is_ok(), "{config:?}");
            let model = Tokenizer::new(&config, 0, &Device::flex());
            assert_eq!(config.n_parameters(), model.num_params() as u64, "{config:?}");
        }
    }
}
