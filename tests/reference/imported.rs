//! Tokenizers of other projects: the same codes and the same pictures as the classes that they were made for.

use burn::module::Module;
use burn::tensor::Device;
use vqgen::checkpoint::ModelFile;
use vqgen::import::{Imported, Project, import_tokenizer};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};

use super::drawn::write_drawn;
use super::support::{Reference, values};

fn imported(reference: &Reference, name: &str) -> Imported {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.safetensors");
    write_drawn(reference, name, &format!("expected.{name}.drawn"), &path);
    import_tokenizer(&path, 16, &Device::flex()).unwrap()
}

fn check(name: &str, project: Project, wanted: &TokenizerConfig) {
    let reference = Reference::read("imported.safetensors");
    let device = Device::flex();
    let Imported { file, project: found, config, ignored } = imported(&reference, name);
    assert_eq!((found, ignored), (project, Vec::new()));
    assert_eq!(config, TokenizerConfig { ..wanted.clone() });
    let file: ModelFile = file;
    let model: Tokenizer =
        file.build(|config: &TokenizerConfig| Tokenizer::new(config, 0, &device)).unwrap();
    let model = model.no_grad();
    let codes = model.encode(reference.floats::<4>("input.images", &device));
    let found: Vec<f32> = codes.to_data().iter::<f32>().collect();
    assert_eq!(found, reference.values(&format!("expected.{name}.codes")), "{name}");
    reference.compare(&format!("expected.{name}.pictures"), &values(model.decode(codes)));
}

fn config() -> TokenizerConfig {
    TokenizerConfig {
        preset: vqgen::tokenizer::TokenizerPreset::Resnet,
        width: 32,
        residual_width: 32,
        attention: true,
        ..TokenizerConfig::default()
    }
}

#[test]
fn a_vqgan_of_taming_transformers_gives_its_codes_and_pictures() {
    let wanted = TokenizerConfig {
        channel_multipliers: vec![1, 2, 2],
        latent_channels: 24,
        attention_levels: 1,
        codebook_size: 40,
        code_dim: 12,
        ..config()
    };
    check("taming", Project::Taming, &wanted);
}

#[test]
fn a_tokenizer_of_llamagen_gives_its_codes_and_pictures() {
    let wanted = TokenizerConfig {
        channel_multipliers: vec![1, 1],
        halvings: 1,
        residual_blocks: 2,
        latent_channels: 16,
        attention_levels: 1,
        codebook_size: 50,
        code_dim: 8,
        normalize_codes: true,
        ..config()
    };
    check("llamagen", Project::LlamaGen, &wanted);
}

#[test]
fn a_vqmodel_of_diffusers_gives_its_codes_and_pictures() {
    let wanted = TokenizerConfig {
        channel_multipliers: vec![1, 1, 2],
        latent_channels: 3,
        codebook_size: 30,
        code_dim: 5,
        ..config()
    };
    check("diffusers", Project::Diffusers, &wanted);
}
