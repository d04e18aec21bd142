//! The `resnet34` tokenizer: torchvision's backbone from a file with its names, and all that follows from it.

use std::path::Path;

use burn::tensor::Device;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde::Deserialize;
use vqgen::checkpoint::{NamedTensor, parameters};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};
use vqgen::training::vqvae::load_backbone;

use super::support::{Reference, values};
use super::tokenizer::compare;

/// A tensor of torchvision's file.
#[derive(Deserialize)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    /// Middle and half width of its values; none for a counter, which is an integer and 0.
    range: Option<(f64, f64)>,
}

/// 32 random bits for each number: lowbias32 by C. Wellons, as in `resnet34.py`.
fn bits(index: u32) -> u32 {
    let x = (index ^ (index >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Writes the file that `torchvision.models.resnet34().state_dict()` would be saved as, with the numbers that
/// `resnet34.py` drew.
fn write_backbone(reference: &Reference, path: &Path) {
    let mut index = 0..;
    let mut last_values = Vec::new();
    let mut tensors = Vec::new();
    for Stored { name, shape, range } in reference.metadata::<Vec<Stored>>("backbone") {
        let Some((middle, half_width)) = range else {
            tensors.push((name, Dtype::I64, shape, 0i64.to_le_bytes().to_vec()));
            continue;
        };
        let size: usize = shape.iter().product();
        let numbers = index.by_ref().take(size).map(|i| {
            let unit = f64::from(bits(i) >> 8) / f64::from(1 << 24);
            (middle + half_width * (2.0 * unit - 1.0)) as f32
        });
        let numbers: Vec<f32> = numbers.collect();
        last_values.push(numbers[size - 1]);
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        tensors.push((name, Dtype::F32, shape, bytes));
    }
    assert_eq!(last_values, reference.values("expected.drawn"), "the numbers are not Python's");
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn is_backbone(name: &str) -> bool {
    name.starts_with("encoder.") && !name.starts_with("encoder.to_codes.")
}

/// A tokenizer with torchvision's backbone, its other parameters from `rest`.
fn load(reference: &Reference, fresh: Tokenizer, rest: Vec<NamedTensor>) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resnet34.safetensors");
    write_backbone(reference, &path);
    let model = load_backbone(fresh, &path).unwrap();
    let mut weights = parameters::named(&model).unwrap();
    weights.retain(|weight| is_backbone(&weight.name));
    weights.extend(rest);
    parameters::load(model, weights, Path::new("the reference")).unwrap()
}

#[test]
fn the_backbone_gives_what_torchvision_has_after_its_second_stage() {
    let reference = Reference::read("resnet34.safetensors");
    let device = Device::flex();
    // Codes as wide as the stage: the projection can be the identity.
    let width = 128;
    let config = TokenizerConfig { code_dim: width, ..reference.config() };
    let fresh = Tokenizer::new(&config, 0, &device);
    let mut rest = parameters::named(&fresh).unwrap();
    rest.retain(|weight| !is_backbone(&weight.name));
    for weight in &mut rest {
        match weight.name.as_str() {
            "encoder.to_codes.weight" => {
                let diagonal = |i| if i % (width + 1) == 0 { 1.0 } else { 0.0 };
                weight.data = (0..width * width).map(diagonal).collect();
            }
            "encoder.to_codes.bias" => weight.data.fill(0.0),
            _ => {}
        }
    }
    let model = load(&reference, fresh, rest);
    let images = reference.floats::<4>("input.images", &device);
    reference.compare("expected.features", &values(model.latents(images)));
}

#[test]
fn the_resnet34_tokenizer_agrees_with_pytorch() {
    let reference = Reference::read("resnet34.safetensors");
    let device = Device::flex().autodiff();
    let config: TokenizerConfig = reference.config();
    config.validate().unwrap();
    let model = load(&reference, Tokenizer::new(&config, 0, &device), reference.weights());
    compare(&reference, &model, &device);
}
