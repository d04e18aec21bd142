//! The values of each parameter, from the tensors of taming-transformers' names.

use super::Tensors;
use crate::checkpoint::NamedTensor;
use crate::tokenizer::TokenizerConfig;

/// The parameter `name`, taken out of `tensors`, or why it cannot be had; the end of a message.
pub(super) fn of_parameter(
    name: &str,
    config: &TokenizerConfig,
    tensors: &mut Tensors,
) -> Result<NamedTensor, String> {
    let mut take = |theirs: String| {
        let tensor = tensors.remove(&theirs);
        tensor.ok_or_else(|| format!("has no float tensor {theirs}, which becomes {name}"))
    };
    let theirs = translated(name, config.channel_multipliers.len());
    let (layer, kind) = theirs.rsplit_once('.').unwrap_or((&theirs, ""));
    let tensor = if let Some(layer) = layer.strip_suffix(".qkv") {
        let [q, k, v] = ["q", "k", "v"].map(|part| take(format!("{layer}.{part}.{kind}")));
        stacked([q?, k?, v?])
    } else if layer == "encoder.conv_out" {
        // Read for both of its parameters: the map before the codebook mixes the channels of either.
        let map = tensors.get("quant_conv.weight");
        let map = map.ok_or("has no float tensor quant_conv.weight")?.clone();
        let own = tensors.remove(&theirs);
        let own =
            own.ok_or_else(|| format!("has no float tensor {theirs}, which becomes {name}"))?;
        let mut mixed = mixed(&map, own)?;
        if kind == "bias" {
            let bias =
                tensors.get("quant_conv.bias").ok_or("has no float tensor quant_conv.bias")?;
            mixed.data.iter_mut().zip(&bias.data).for_each(|(value, bias)| *value += bias);
        }
        mixed
    } else {
        let mut tensor = take(theirs.clone())?;
        match (layer, kind) {
            ("encoder.conv_in", "weight") => scale(&mut tensor, 2.0),
            ("decoder.conv_out", _) => scale(&mut tensor, 0.5),
            (layer, "weight") if layer.ends_with(".downsample.conv") => tensor = padded(tensor)?,
            // A 1x1 convolution there, a linear map here.
            (layer, "weight") if layer.ends_with(".proj_out") => tensor.shape.truncate(2),
            _ => {}
        }
        tensor
    };
    Ok(NamedTensor { name: name.to_owned(), ..tensor })
}

/// The name of our parameter `name` in taming-transformers, with `levels` resolutions. What has no single counterpart
/// keeps a name of ours: `qkv`.
fn translated(name: &str, levels: usize) -> String {
    let name = match name.strip_prefix("decoder.levels.").and_then(|rest| rest.split_once('.')) {
        // Ours begin at the coarsest resolution.
        Some((level, rest)) => {
            let level = level.parse::<usize>().unwrap_or_default();
            format!("decoder.up.{}.{rest}", levels.saturating_sub(level + 1))
        }
        None => name.replace("encoder.levels.", "encoder.down."),
    };
    [
        ("encoder.stem.", "encoder.conv_in."),
        ("encoder.norm.", "encoder.norm_out."),
        ("encoder.to_codes.", "encoder.conv_out."),
        ("encoder.attention.", "encoder.mid.attn_1."),
        ("codebook.", "quantize.embedding."),
        ("decoder.after_codes.", "post_quant_conv."),
        ("decoder.from_codes.", "decoder.conv_in."),
        ("decoder.attention.", "decoder.mid.attn_1."),
        ("decoder.norm.", "decoder.norm_out."),
        ("decoder.to_image.", "decoder.conv_out."),
        (".middle.0.", ".mid.block_1."),
        (".middle.1.", ".mid.block_2."),
        (".blocks.", ".block."),
        (".attention.", ".attn."),
        (".shortcut.", ".nin_shortcut."),
        (".out.", ".proj_out."),
        (".up.weight", ".upsample.conv.weight"),
        (".up.bias", ".upsample.conv.bias"),
        (".down.weight", ".downsample.conv.weight"),
        (".down.bias", ".downsample.conv.bias"),
    ]
    .into_iter()
    .fold(name, |name, (ours, theirs)| name.replace(ours, theirs))
}

fn scale(tensor: &mut NamedTensor, factor: f32) {
    tensor.data.iter_mut().for_each(|value| *value *= factor);
}

/// Queries, keys and values below each other, as one linear map.
fn stacked(parts: [NamedTensor; 3]) -> NamedTensor {
    let mut shape: Vec<usize> = parts[0].shape.iter().take(2).copied().collect();
    shape[0] = parts.iter().map(|part| part.shape.first().copied().unwrap_or(0)).sum();
    let data = parts.into_iter().flat_map(|part| part.data).collect();
    NamedTensor { name: String::new(), shape, data }
}

/// The first axis of `of` mixed by the 1x1 convolution `map`, `[out, in, 1, 1]`.
fn mixed(map: &NamedTensor, of: NamedTensor) -> Result<NamedTensor, String> {
    let wrong = || format!("quant_conv.weight of shape {:?} does not fit {}", map.shape, of.name);
    let (Some(&outputs), Some(&inputs)) = (map.shape.first(), map.shape.get(1)) else {
        return Err(wrong());
    };
    if of.shape.first() != Some(&inputs) || map.data.len() != outputs * inputs {
        return Err(wrong());
    }
    let columns = of.data.len() / inputs.max(1);
    let mut data = vec![0.0f64; outputs * columns];
    for output in 0..outputs {
        let sums = &mut data[output * columns..][..columns];
        for input in 0..inputs {
            let weight = f64::from(map.data[output * inputs + input]);
            let row = &of.data[input * columns..][..columns];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
    }
    let mut shape = of.shape;
    shape[0] = outputs;
    let data = data.into_iter().map(|value| value as f32).collect();
    Ok(NamedTensor { name: of.name, shape, data })
}

/// A kernel `[c_out, c_in, 3, 3]` with a row and a column of zeros in front.
fn padded(tensor: NamedTensor) -> Result<NamedTensor, String> {
    let [c_out, c_in, 3, 3] = tensor.shape[..] else {
        return Err(format!(
            "tensor {} has shape {:?}, expected a 3x3 kernel",
            tensor.name, tensor.shape
        ));
    };
    let mut data = Vec::with_capacity(c_out * c_in * 16);
    for kernel in tensor.data.chunks_exact(9) {
        data.extend([0.0; 4]);
        for row in kernel.chunks_exact(3) {
            data.push(0.0);
            data.extend_from_slice(row);
        }
    }
    Ok(NamedTensor { name: tensor.name, shape: vec![c_out, c_in, 4, 4], data })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn our_names_have_their_counterparts() {
        for (ours, wanted) in [
            ("encoder.stem.weight", "encoder.conv_in.weight"),
            ("encoder.levels.1.blocks.0.shortcut.bias", "encoder.down.1.block.0.nin_shortcut.bias"),
            ("encoder.levels.1.attention.0.out.bias", "encoder.down.1.attn.0.proj_out.bias"),
            ("encoder.levels.0.down.weight", "encoder.down.0.downsample.conv.weight"),
            ("decoder.levels.0.up.bias", "decoder.up.2.upsample.conv.bias"),
            ("decoder.levels.2.blocks.1.norm2.weight", "decoder.up.0.block.1.norm2.weight"),
            ("decoder.attention.qkv.weight", "decoder.mid.attn_1.qkv.weight"),
            ("decoder.middle.1.conv1.weight", "decoder.mid.block_2.conv1.weight"),
            ("codebook.weight", "quantize.embedding.weight"),
        ] {
            assert_eq!(translated(ours, 3), wanted);
        }
    }

    #[test]
    fn convolutions_one_after_the_other_become_one() {
        let tensor = |name: &str, shape: &[usize], data: &[f32]| {
            NamedTensor::new(name, shape.to_vec(), data.to_vec()).unwrap()
        };
        let map = tensor("map", &[1, 2, 1, 1], &[2.0, -1.0]);
        let of = tensor("of", &[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let both = mixed(&map, of).unwrap();
        assert_eq!((both.shape, both.data), (vec![1, 1, 1, 2], vec![-1.0, 0.0]));
        let kernel: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let padded = padded(tensor("x", &[1, 1, 3, 3], &kernel)).unwrap();
        assert_eq!(padded.data[4..8], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(padded.data[..4], [0.0; 4]);
    }
}
