//! The architecture of a tokenizer, read off the names and shapes of its tensors.

use super::Tensors;
use super::names::{Project, index_after};
use crate::tokenizer::{TokenizerConfig, TokenizerPreset};

/// Groups of every GroupNorm in the known projects.
const GROUPS: usize = 32;

/// The configuration for images of `image_size` pixels, or why there is none; the end of a message.
pub(super) fn of_tensors(
    tensors: &Tensors,
    project: Project,
    image_size: usize,
) -> Result<TokenizerConfig, String> {
    let shape = |name: &str, axes: usize| match tensors.get(name) {
        None => {
            Err(format!("has no float tensor {name} (in the names of {})", Project::Taming.name()))
        }
        Some(tensor) if tensor.shape.len() != axes => {
            Err(format!("tensor {name} has shape {:?}, expected {axes} axes", tensor.shape))
        }
        Some(tensor) => Ok(tensor.shape.clone()),
    };
    if !tensors.contains_key("quantize.embedding.weight") {
        return Err("has no codebook (quantize.embedding.weight): only tokenizers that look up the nearest code can be \
                    imported"
            .to_owned());
    }
    let codebook = shape("quantize.embedding.weight", 2)?;
    let stem = shape("encoder.conv_in.weight", 4)?;
    let latents = shape("decoder.conv_in.weight", 4)?;
    let width = stem[0];
    let count = |prefix: &str| {
        let indices = tensors.keys().filter_map(|name| index_after(name, prefix));
        indices.max().map_or(0, |last| last.saturating_add(1))
    };
    let levels = count("encoder.down.");
    let residual_blocks = count("encoder.down.0.block.");
    let mut multipliers = Vec::new();
    for level in 0..levels {
        let channels = shape(&format!("encoder.down.{level}.block.0.conv1.weight"), 4)?[0];
        if width == 0 || channels % width != 0 || channels % GROUPS != 0 {
            return Err(format!(
                "has {channels} channels at a resolution, expected a multiple of the first {width} and of {GROUPS}"
            ));
        }
        multipliers.push(channels / width);
    }
    if width % GROUPS != 0 {
        return Err(format!("has {width} channels, expected a multiple of {GROUPS}"));
    }
    let attends = |level: &usize| count(&format!("encoder.down.{level}.attn.")) > 0;
    let attention_levels = (0..levels).rev().take_while(attends).count();
    Ok(TokenizerConfig {
        image_size,
        channels: stem[1],
        preset: TokenizerPreset::Resnet,
        width,
        channel_multipliers: multipliers,
        folds: 0,
        residual_blocks,
        residual_width: 32,
        halvings: levels.saturating_sub(1),
        attention: tensors.contains_key("encoder.mid.attn_1.q.weight"),
        latent_channels: latents[1],
        attention_levels,
        codebook_size: codebook[0],
        code_dim: codebook[1],
        normalize_codes: project == Project::LlamaGen,
        ..TokenizerConfig::default()
    })
}
