//! The `resnet34` tokenizer: torchvision's backbone from a file with its names, and all that follows from it.

use std::path::Path;

use burn::tensor::Device;
use vqgen::checkpoint::{NamedTensor, parameters};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};
use vqgen::training::vqvae::load_backbone;

use super::drawn::write_drawn;
use super::support::{Reference, values};
use super::tokenizer::compare;

fn is_backbone(name: &str) -> bool {
    name.starts_with("encoder.") && !name.starts_with("encoder.to_codes.")
}

/// A tokenizer with torchvision's backbone, its other parameters from `rest`.
fn load(reference: &Reference, fresh: Tokenizer, rest: Vec<NamedTensor>) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resnet34.safetensors");
    write_drawn(reference, "backbone", "expected.drawn", &path);
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
