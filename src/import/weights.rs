//! The values of each parameter, from the tensors of taming-transformers' names.

use super::Tensors;
use crate::checkpoint::NamedTensor;
use crate::tokenizer::TokenizerConfig;

/// The parameter `name` of `shape`, taken out of `tensors`, or why it cannot be had; the end of a message.
pub(super) fn of_parameter(
    name: &str,
    shape: &[usize],
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
        stacked([q?, k?, v?])?
    } else if layer == "encoder.conv_out" {
        // Read for both of its parameters: the map before the codebook mixes the channels of either.
        let own = take(theirs.clone())?;
        let of_map = |name: &str| {
            tensors.get(name).cloned().ok_or_else(|| format!("has no float tensor {name}"))
        };
        let mut mixed = mixed(&of_map("quant_conv.weight")?, own, shape)?;
        if kind == "bias" {
            let bias = expect_shape(of_map("quant_conv.bias")?, shape)?;
            mixed.data.iter_mut().zip(bias.data).for_each(|(value, bias)| *value += bias);
        }
        mixed
    } else {
        let mut tensor = take(theirs.clone())?;
        match (layer, kind) {
            ("encoder.conv_in", "weight") => scale(&mut tensor, 2.0),
            ("decoder.conv_out", _) => scale(&mut tensor, 0.5),
            (layer, "weight") if layer.ends_with(".downsample.conv") => tensor = padded(tensor)?,
            (layer, _) if layer.ends_with(".proj_out") => tensor = linear(tensor)?,
            _ => {}
        }
        tensor
    };
    Ok(NamedTensor { name: name.to_owned(), ..expect_shape(tensor, shape)? })
}

fn expect_shape(tensor: NamedTensor, shape: &[usize]) -> Result<NamedTensor, String> {
    if tensor.shape == shape {
        return Ok(tensor);
    }
    Err(format!("tensor {} has shape {:?}, expected {shape:?}", tensor.name, tensor.shape))
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

/// A 1x1 convolution, or its bias, as a linear map.
fn linear(mut tensor: NamedTensor) -> Result<NamedTensor, String> {
    match tensor.shape[..] {
        [_] | [_, _] => {}
        [_, _, 1, 1] => tensor.shape.truncate(2),
        _ => {
            let NamedTensor { name, shape, .. } = tensor;
            return Err(format!("tensor {name} has shape {shape:?}, expected a 1x1 convolution"));
        }
    }
    Ok(tensor)
}

/// Queries, keys and values below each other, as one linear map.
fn stacked(parts: [NamedTensor; 3]) -> Result<NamedTensor, String> {
    let [q, k, v] = parts.map(linear);
    let (q, k, v) = (q?, k?, v?);
    let name = q.name.clone();
    let mut shape = q.shape.clone();
    let [k, v] = [expect_shape(k, &shape)?, expect_shape(v, &shape)?];
    if let Some(rows) = shape.first_mut() {
        *rows *= 3;
    }
    let data = [q, k, v].into_iter().flat_map(|part| part.data).collect();
    Ok(NamedTensor { name, shape, data })
}

/// The first axis of `of` mixed by the 1x1 convolution `map`, `[out, in, 1, 1]`, which gives `shape`.
fn mixed(map: &NamedTensor, of: NamedTensor, shape: &[usize]) -> Result<NamedTensor, String> {
    let fits = match (&map.shape[..], shape, &of.shape[..]) {
        ([outputs, inputs, 1, 1], [rows, rest @ ..], [columns, rest_of @ ..]) => {
            outputs == rows && inputs == columns && rest == rest_of && *inputs > 0
        }
        _ => false,
    };
    if !fits {
        return Err(format!(
            "quant_conv.weight of shape {:?} and {} of {:?} do not give {shape:?}",
            map.shape, of.name, of.shape
        ));
    }
    let inputs = of.shape[0];
    let columns = of.data.len() / inputs;
    let mut data = vec![0.0f64; shape[0] * columns];
    for (output, weights) in map.data.chunks_exact(inputs).enumerate() {
        let sums = &mut data[output * columns..][..columns];
        for (weight, row) in weights.iter().zip(of.data.chunks_exact(columns.max(1))) {
            let weight = f64::from(*weight);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
    }
    let data = data.into_iter().map(|value| value as f32).collect();
    Ok(NamedTensor { name: of.name, shape: shape.to_vec(), data })
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
        let both = mixed(&map, of.clone(), &[1, 1, 1, 2]).unwrap();
        assert_eq!((both.shape, both.data), (vec![1, 1, 1, 2], vec![-1.0, 0.0]));
        for shape in [&[2, 1, 1, 2][..], &[1, 1, 2, 1], &[1]] {
            assert!(mixed(&map, of.clone(), shape).is_err());
        }
        let kernel: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let padded = padded(tensor("x", &[1, 1, 3, 3], &kernel)).unwrap();
        assert_eq!(padded.data[4..8], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(padded.data[..4], [0.0; 4]);
    }

    #[test]
    fn tensors_that_are_no_linear_map_are_named() {
        let tensor = |shape: &[usize]| {
            let n = shape.iter().product();
            NamedTensor::new("x.q.weight", shape.to_vec(), vec![1.0; n]).unwrap()
        };
        let stack = |shapes: [&[usize]; 3]| stacked(shapes.map(tensor));
        assert_eq!(stack([&[2, 2, 1, 1], &[2, 2], &[2, 2, 1, 1]]).unwrap().shape, [6, 2]);
        assert_eq!(stack([&[2], &[2], &[2]]).unwrap().shape, [6]);
        for shapes in [[&[][..], &[], &[]], [&[2, 2, 3, 3], &[2, 2], &[2, 2]], [&[2], &[2], &[3]]] {
            assert!(stack(shapes).unwrap_err().contains("x.q.weight has shape"));
        }
    }
}
