//! Model files that are whole, damaged, of 16-bit weights, and of the other kind.

use serde_json::{Value, json};

use super::*;

fn tensors() -> Vec<NamedTensor> {
    vec![
        NamedTensor::new("b", vec![2], vec![1.0, -0.0]).unwrap(),
        NamedTensor::new("a.weight", vec![1, 2], vec![0.25, 1e-40]).unwrap(),
    ]
}

fn model() -> ModelFile {
    ModelFile::new(Kind::Tokenizer, &json!({"width": 4}), tensors()).unwrap()
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vqvae.safetensors");
    (folder, path)
}

#[test]
fn a_model_is_read_back_with_everything_that_belongs_to_it() {
    let (_folder, path) = path();
    let written = model()
        .with("tokenizer", "0123456789abcdef")
        .with_json("classes", &["cats", "dogs"])
        .unwrap();
    written.save(&path).unwrap();
    let read = ModelFile::load(&path, Kind::Tokenizer).unwrap();
    assert_eq!(read.config::<Value>().unwrap(), json!({"width": 4}));
    assert_eq!(read.metadata("tokenizer").unwrap(), "0123456789abcdef");
    assert_eq!(read.json::<Vec<String>>("classes").unwrap(), ["cats", "dogs"]);
    assert_eq!(read.fingerprint(), written.fingerprint());
    assert_eq!(read.fingerprint().len(), 16);
    let names: Vec<_> = read.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "b"]);
    assert_eq!(read.tensors()[1].data[1].to_bits(), (-0.0f32).to_bits());
    assert_eq!(read.source(), path);
}

#[test]
fn the_fingerprint_covers_configuration_and_weights_but_not_provenance() {
    let base = model();
    let mut other = tensors();
    other[0].data[1] = 0.0; // differs from -0.0 in one bit
    let other = ModelFile::new(Kind::Tokenizer, &json!({"width": 4}), other).unwrap();
    assert_ne!(other.fingerprint(), base.fingerprint());
    let other = ModelFile::new(Kind::Tokenizer, &json!({"width": 5}), tensors()).unwrap();
    assert_ne!(other.fingerprint(), base.fingerprint());
    let named = base.clone().with("provenance", "{}");
    assert_eq!(named.fingerprint(), base.fingerprint());
}

#[test]
fn a_model_of_16_bit_weights_is_read_back_as_it_was_rounded() {
    let (_folder, path) = path();
    let tensors = vec![NamedTensor::new("x", vec![3], vec![1.0, 0.1, -65504.0]).unwrap()];
    let full = ModelFile::new(Kind::Tokenizer, &json!({}), tensors).unwrap();
    let half = full.clone().halved().unwrap();
    assert_ne!(half.fingerprint(), full.fingerprint());
    half.save(&path).unwrap();
    let read = ModelFile::load(&path, Kind::Tokenizer).unwrap();
    assert_eq!(read.tensors()[0].data, [1.0, 0.099975586, -65504.0]);
    assert!(read.same_as(&half) && !read.same_as(&full));
    assert_eq!(read.halved().unwrap().fingerprint(), half.fingerprint());

    let large = vec![NamedTensor::new("x", vec![1], vec![7e4]).unwrap()];
    let large = ModelFile::new(Kind::Tokenizer, &json!({}), large).unwrap();
    let error = large.halved().unwrap_err().to_string();
    assert!(error.contains("x holds 70000"), "{error}");
}

#[test]
fn a_prior_is_not_taken_for_a_tokenizer() {
    let (_folder, path) = path();
    model().save(&path).unwrap();
    let error = ModelFile::load(&path, Kind::Prior).unwrap_err().to_string();
    assert!(error.contains("has format vqgen.vqvae.1, expected vqgen.prior.1"), "{error}");
}

#[test]
fn weights_changed_behind_a_right_checksum_do_not_pass_the_fingerprint() {
    let (_folder, path) = path();
    let mut forged = model();
    forged.tensors[0].data[0] += 1.0;
    forged.save(&path).unwrap();
    let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
    assert!(error.contains(&format!("the recorded one {}", model().fingerprint())), "{error}");
}

#[test]
fn a_flipped_byte_is_refused() {
    let (_folder, path) = path();
    model().save(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn a_model_that_is_not_finite_is_neither_saved_nor_loaded() {
    let (_folder, path) = path();
    let mut broken = tensors();
    broken[1].data[0] = f32::NAN;
    let error = ModelFile::new(Kind::Prior, &json!({}), broken).unwrap_err().to_string();
    assert!(error.contains("a.weight holds NaN"), "{error}");
    let mut forged = model();
    forged.tensors[0].data[0] = f32::INFINITY;
    forged.fingerprint = fingerprint(&forged.config, &forged.tensors);
    forged.save(&path).unwrap();
    let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
    assert!(error.contains("tensor a.weight holds inf"), "{error}");
}

#[test]
fn a_missing_or_malformed_metadata_value_is_named() {
    let read = model().with("classes", "[1");
    assert!(read.metadata("codes").unwrap_err().to_string().contains("has no codes"));
    let error = read.json::<Vec<String>>("classes").unwrap_err().to_string();
    assert!(error.contains("classes in the metadata"), "{error}");
    assert!(read.config::<Vec<u8>>().unwrap_err().to_string().contains("config in the metadata"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ModelFile::load("no/such.safetensors", Kind::Prior).unwrap_err().to_string();
    assert!(error.starts_with("cannot read no/such.safetensors"), "{error}");
}
