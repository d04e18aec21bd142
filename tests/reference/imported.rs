//! Tokenizers of other projects: the same codes and the same pictures as the classes that they were made for.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use vqgen::checkpoint::{Kind, ModelFile, NamedTensor, read_foreign};
use vqgen::import::{Imported, Project, import_tokenizer};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig};

use super::drawn::write_drawn;
use super::support::{Reference, values};

/// A folder with the file of a tokenizer.
fn drawn(reference: &Reference, name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.safetensors");
    write_drawn(reference, name, &format!("expected.{name}.drawn"), &path);
    (dir, path)
}

fn imported(reference: &Reference, name: &str) -> Imported {
    let (_dir, path) = drawn(reference, name);
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

/// The error of importing these tensors.
fn refusal(tensors: Vec<NamedTensor>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.safetensors");
    ModelFile::new(Kind::Tokenizer, &(), tensors).unwrap().save(&path).unwrap();
    import_tokenizer(&path, 16, &Device::flex()).unwrap_err().to_string()
}

#[test]
fn a_file_with_a_tensor_too_few_or_of_another_shape_is_refused() {
    let (_dir, path) = drawn(&Reference::read("imported.safetensors"), "taming");
    let tensors = read_foreign(&path).unwrap();
    for index in 0..tensors.len() {
        let mut changed = tensors.clone();
        let NamedTensor { name, .. } = changed.remove(index);
        assert!(!refusal(changed.clone()).is_empty(), "without {name}");
        for shape in [&[][..], &[1], &[1, 1, 1, 1]] {
            let mut changed = changed.clone();
            changed.push(NamedTensor::new(&name, shape.to_vec(), vec![1.0]).unwrap());
            assert!(!refusal(changed).is_empty(), "{name} of shape {shape:?}");
        }
    }
}

#[test]
fn layers_that_vqgen_does_not_have_are_named() {
    let (_dir, path) = drawn(&Reference::read("imported.safetensors"), "taming");
    let mut tensors = read_foreign(&path).unwrap();
    for tensor in &mut tensors {
        tensor.name = tensor.name.replace(".2.attn.", ".1.attn.");
    }
    let message = refusal(tensors);
    assert!(message.contains("has decoder.up.1.attn.0.k.bias"), "{message}");
    assert!(message.contains("for which vqgen has no layer"), "{message}");
}

#[test]
fn a_run_of_an_imported_tokenizer_trains_the_rest() {
    let (dir, path) = drawn(&Reference::read("imported.safetensors"), "taming");
    std::fs::create_dir(dir.path().join("pictures")).unwrap();
    for n in 0..12u32 {
        let picture = image::RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(x * (n + 3)) as u8, (y * 11) as u8, (n * 20) as u8])
        });
        picture.save(dir.path().join(format!("pictures/{n}.png"))).unwrap();
    }
    let vqgen = |line: &str| {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
        command.current_dir(dir.path()).args(line.split_whitespace());
        command.args(["--run", "checkpoints/x", "--device", "cpu", "--quiet"]).assert().success();
    };
    vqgen(&format!("import {} --image-size 16", path.display()));
    let tokenizer = || std::fs::read(dir.path().join("checkpoints/x/vqvae.safetensors")).unwrap();
    let before = tokenizer();
    for steps in [3, 5] {
        vqgen(&format!(
            "run --data pictures --set data.validation=0.2 --set data.test=0.2 --set prior.layers=1 --set prior.heads=2 \
             --set prior.width=8 --set prior.batch_size=4 --set prior.steps={steps} --set sample.count=2"
        ));
    }
    assert!(dir.path().join("checkpoints/x/prior.safetensors").exists());
    assert!(tokenizer() == before);
}
