//! Whose tokenizer a file holds, by the names of its tensors, and these names in taming-transformers.

use super::Tensors;
use crate::checkpoint::NamedTensor;

/// Projects whose tokenizers can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Project {
    /// taming-transformers' VQGAN (Esser et al. 2021).
    Taming,
    /// LlamaGen's VQ (Sun et al. 2024): the same layers, l2-normalised codes.
    LlamaGen,
    /// `VQModel` of diffusers.
    Diffusers,
}

impl Project {
    const ALL: [Self; 3] = [Self::Taming, Self::LlamaGen, Self::Diffusers];

    /// As the project calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Taming => "taming-transformers",
            Self::LlamaGen => "LlamaGen",
            Self::Diffusers => "diffusers",
        }
    }

    /// All names, for messages.
    pub(super) fn listed() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The beginning of names that only its encoders have.
    fn mark(self) -> &'static str {
        match self {
            Self::Taming => "encoder.down.0.block.",
            Self::LlamaGen => "encoder.conv_blocks.",
            Self::Diffusers => "encoder.down_blocks.",
        }
    }

    /// The project whose names these are.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|project| names.clone().any(|name| name.starts_with(project.mark())))
    }

    /// The tensors under their names in taming-transformers.
    pub(super) fn translated(self, tensors: Vec<NamedTensor>) -> Tensors {
        // Resolutions of the decoder are counted from the coarsest there, from the finest in taming-transformers.
        let prefix = match self {
            Self::Taming | Self::LlamaGen => "decoder.conv_blocks.",
            Self::Diffusers => "decoder.up_blocks.",
        };
        let levels = tensors.iter().filter_map(|tensor| index_after(&tensor.name, prefix)).max();
        let last = levels.unwrap_or(0);
        let renamed = tensors.into_iter().map(|tensor| {
            let name = match self {
                Self::Taming => tensor.name.clone(),
                Self::LlamaGen => of_llamagen(&tensor.name, last),
                Self::Diffusers => of_diffusers(&tensor.name, last),
            };
            (name.clone(), NamedTensor { name, ..tensor })
        });
        renamed.collect()
    }
}

/// The number that follows `prefix` in `name`.
pub(super) fn index_after(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

/// `name` with the level after `prefix` counted from the other end, below `new`.
fn reversed(name: &str, prefix: &str, new: &str, last: usize) -> Option<String> {
    let index = index_after(name, prefix)?;
    let rest = name.strip_prefix(prefix)?.split_once('.')?.1;
    Some(format!("{new}{}.{rest}", last.checked_sub(index)?))
}

fn of_llamagen(name: &str, last: usize) -> String {
    let name = reversed(name, "decoder.conv_blocks.", "decoder.up.", last)
        .unwrap_or_else(|| name.replace("encoder.conv_blocks.", "encoder.down."));
    name.replace(".res.", ".block.")
        .replace(".mid.0.", ".mid.block_1.")
        .replace(".mid.1.", ".mid.attn_1.")
        .replace(".mid.2.", ".mid.block_2.")
}

fn of_diffusers(name: &str, last: usize) -> String {
    let name = reversed(name, "decoder.up_blocks.", "decoder.up.", last)
        .unwrap_or_else(|| name.replace("encoder.down_blocks.", "encoder.down."));
    let name = name
        .replace(".mid_block.resnets.0.", ".mid.block_1.")
        .replace(".mid_block.resnets.1.", ".mid.block_2.")
        .replace(".mid_block.attentions.0.", ".mid.attn_1.")
        .replace(".resnets.", ".block.")
        .replace(".attentions.", ".attn.")
        .replace(".downsamplers.0.conv.", ".downsample.conv.")
        .replace(".upsamplers.0.conv.", ".upsample.conv.")
        .replace(".conv_shortcut.", ".nin_shortcut.")
        .replace(".conv_norm_out.", ".norm_out.")
        .replace(".group_norm.", ".norm.");
    // The first of each pair as it has been called since 2023.
    let projections = [
        ("to_q", "q"),
        ("query", "q"),
        ("to_k", "k"),
        ("key", "k"),
        ("to_v", "v"),
        ("value", "v"),
        ("to_out.0", "proj_out"),
        ("proj_attn", "proj_out"),
    ];
    projections.iter().fold(name, |name, (theirs, ours)| {
        name.replace(&format!(".{theirs}."), &format!(".{ours}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_taming_transformers() {
        for (theirs, wanted) in [
            ("encoder.conv_blocks.2.res.1.norm1.weight", "encoder.down.2.block.1.norm1.weight"),
            ("decoder.conv_blocks.0.attn.2.q.bias", "decoder.up.3.attn.2.q.bias"),
            ("decoder.mid.2.conv1.weight", "decoder.mid.block_2.conv1.weight"),
            ("quantize.embedding.weight", "quantize.embedding.weight"),
        ] {
            assert_eq!(of_llamagen(theirs, 3), wanted);
        }
        for (theirs, wanted) in [
            (
                "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
                "encoder.down.1.block.0.nin_shortcut.bias",
            ),
            ("decoder.up_blocks.3.upsamplers.0.conv.bias", "decoder.up.0.upsample.conv.bias"),
            (
                "encoder.mid_block.attentions.0.to_out.0.weight",
                "encoder.mid.attn_1.proj_out.weight",
            ),
            ("encoder.mid_block.attentions.0.query.weight", "encoder.mid.attn_1.q.weight"),
            ("encoder.conv_norm_out.weight", "encoder.norm_out.weight"),
        ] {
            assert_eq!(of_diffusers(theirs, 3), wanted);
        }
    }
}
