//! Initialises the `resnet34` encoder from torchvision's weights: the file that torchvision downloads, or
//! `resnet34(weights=…).state_dict()` saved with `torch.save` or as safetensors. Only the stages that the encoder has
//! are used; the rest of the file is ignored.

use std::path::Path;

use crate::checkpoint::{Origin, load_foreign};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

const ORIGIN: Origin = Origin {
    weights: "torchvision's resnet34",
    url: "https://download.pytorch.org/models/resnet34-b627a593.pth",
};

/// `tokenizer` with its backbone loaded from the file at `path`.
///
/// # Errors
/// A file that cannot be read, or in which a tensor of the backbone is missing or has another shape.
pub fn load_backbone(tokenizer: Tokenizer, path: &Path) -> Result<Tokenizer> {
    load_foreign(tokenizer, path, ORIGIN, &torchvision_name)
}

/// Torchvision's name of a parameter of the encoder; `None` where torchvision has none.
fn torchvision_name(name: &str) -> Option<String> {
    let name = name.strip_prefix("encoder.")?;
    if name.starts_with("to_codes.") {
        return None;
    }
    Some(
        name.replace("downsample.conv.", "downsample.0.")
            .replace("downsample.norm.", "downsample.1."),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::checkpoint::{Kind, ModelFile, NamedTensor, parameters};
    use crate::tokenizer::{TokenizerConfig, TokenizerPreset};

    #[test]
    fn the_backbone_comes_from_the_file_and_the_rest_stays() {
        let config = TokenizerConfig {
            image_size: 16,
            channels: 3,
            preset: TokenizerPreset::Resnet34,
            width: 16,
            residual_blocks: 1,
            residual_width: 0,
            halvings: 3,
            codebook_size: 4,
            code_dim: 4,
            ..TokenizerConfig::default()
        };
        let device = Device::flex();
        // A file with torchvision's names, made from another model of this shape.
        let other = parameters::named(&Tokenizer::new(&config, 1, &device)).unwrap();
        let renamed: Vec<NamedTensor> = other
            .iter()
            .filter_map(|tensor| {
                let name = torchvision_name(&tensor.name)?;
                Some(NamedTensor::new(name, tensor.shape.clone(), tensor.data.clone()).unwrap())
            })
            .collect();
        let names: Vec<&str> = renamed.iter().map(|tensor| tensor.name.as_str()).collect();
        for name in [
            "conv1.weight",
            "bn1.running_var",
            "layer2.0.downsample.1.bias",
            "layer2.3.conv2.weight",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resnet34.safetensors");
        ModelFile::new(Kind::Tokenizer, &(), renamed.clone()).unwrap().save(&path).unwrap();

        let fresh = Tokenizer::new(&config, 2, &device);
        let before = parameters::named(&fresh).unwrap();
        let after = parameters::named(&load_backbone(fresh, &path).unwrap()).unwrap();
        for ((before, after), other) in before.iter().zip(&after).zip(&other) {
            let wanted = if torchvision_name(&after.name).is_some() { other } else { before };
            assert_eq!(after.data, wanted.data, "{}", after.name);
        }

        let mut negative = renamed.clone();
        let variance = negative.iter_mut().find(|tensor| tensor.name == "bn1.running_var");
        variance.unwrap().data[3] = -1.0;
        ModelFile::new(Kind::Tokenizer, &(), negative).unwrap().save(&path).unwrap();
        let fresh = Tokenizer::new(&config, 2, &device);
        let error = load_backbone(fresh, &path).unwrap_err().to_string();
        assert!(error.ends_with("bn1.running_var holds -1, allowed are 0 and above"), "{error}");

        ModelFile::new(Kind::Tokenizer, &(), vec![]).unwrap().save(&path).unwrap();
        let fresh = Tokenizer::new(&config, 2, &device);
        let error = load_backbone(fresh, &path).unwrap_err().to_string();
        assert!(error.contains("has no") && error.contains("torchvision"), "{error}");

        let mut wide = renamed;
        let bias = wide.iter_mut().find(|tensor| tensor.name == "layer1.0.bn1.bias").unwrap();
        *bias = NamedTensor::new("layer1.0.bn1.bias", vec![32], vec![0.0; 32]).unwrap();
        ModelFile::new(Kind::Tokenizer, &(), wide).unwrap().save(&path).unwrap();
        let error = load_backbone(Tokenizer::new(&config, 2, &device), &path);
        let error = error.unwrap_err().to_string();
        let wanted = "tensor layer1.0.bn1.bias has shape [32], expected [64] (expected the weights of torchvision's \
                      resnet34, from https://download.pytorch.org/models/resnet34-b627a593.pth)";
        assert!(error.ends_with(wanted), "{error}");
    }
}
