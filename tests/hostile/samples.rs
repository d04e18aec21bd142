//! A small valid file of each format, all of one run.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;
use vqgen::checkpoint::{
    Codes, DATA, Kind, ModelFile, NamedTensor, ResumeState, RunDir, Stage, parameters,
};
use vqgen::data::{Provenance, Split, View};
use vqgen::prior::{Prior, PriorConfig};
use vqgen::tokenizer::{Tokenizer, TokenizerConfig, TokenizerPreset};

use super::forge::{Forged, Tensor};

pub(crate) const CLASSES: [&str; 2] = ["cats", "dögs"];

/// 4 x 4 grey pixels, 2 x 2 codes of 4: 134 parameters.
pub(crate) fn tokenizer_config() -> TokenizerConfig {
    TokenizerConfig {
        image_size: 4,
        channels: 1,
        preset: TokenizerPreset::Plain,
        width: 2,
        residual_blocks: 0,
        residual_width: 1,
        halvings: 1,
        codebook_size: 4,
        code_dim: 1,
        ..TokenizerConfig::default()
    }
}

/// The smallest GPT over those codes.
pub(crate) fn prior_config() -> PriorConfig {
    PriorConfig {
        codebook_size: 4,
        n_classes: CLASSES.len(),
        grid_height: 2,
        grid_width: 2,
        layers: 1,
        heads: 1,
        width: 4,
        ..PriorConfig::default()
    }
}

pub(crate) fn device() -> Device {
    Device::flex()
}

/// Of another data set whose splits follow the same rule.
pub(crate) fn data() -> Provenance {
    let fingerprint = "0123456789abcdef".to_owned();
    Provenance { fingerprint, validation: 0.05, test: 0.05, by_content: true }
}

pub(crate) fn tokenizer() -> ModelFile {
    let model = Tokenizer::new(&tokenizer_config(), 1, &device());
    let file = ModelFile::new(Kind::Tokenizer, model.config(), parameters::named(&model).unwrap())
        .unwrap();
    file.with_json(DATA, &data()).unwrap()
}

pub(crate) fn codes() -> Codes {
    Codes {
        height: 2,
        width: 2,
        depth: 1,
        codebook_size: 4,
        codes: vec![0, 1, 2, 3, 3, 2, 1, 0, 0, 0, 1, 1],
        labels: vec![0, 1, 0],
        splits: Split::ALL.to_vec(),
        views: vec![View::AS_IS; 3],
        names: ["cats/1.png", "dögs/2.png", "cats/3.png"].map(str::to_owned).to_vec(),
        captions: Vec::new(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        tokenizer: tokenizer().fingerprint().to_owned(),
        data: Some(data()),
        image_size: 4,
        channels: 1,
    }
}

pub(crate) fn prior() -> ModelFile {
    let model = Prior::new(&prior_config(), 1, &device());
    let file =
        ModelFile::new(Kind::Prior, model.config(), parameters::named(&model).unwrap()).unwrap();
    let file = file.with("tokenizer", tokenizer().fingerprint());
    let file = file.with("codes", codes().fingerprint()).with_json("classes", &CLASSES).unwrap();
    file.with_json(DATA, &data()).unwrap()
}

/// The counters of a state, as a test wants them.
#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
pub(crate) struct Counters {
    pub(crate) step: u64,
    pub(crate) best: Option<f64>,
}

pub(crate) fn resume_state() -> ResumeState {
    let counters = Counters { step: 7, best: Some(0.1) };
    let mut state = ResumeState::new(Stage::Prior, &counters).unwrap();
    let tensor = |name: &str| NamedTensor::new(name, vec![2, 1], vec![0.5, -1e-40]).unwrap();
    state.insert("model.", vec![tensor("a"), tensor("b")]).unwrap();
    state.insert("adamw.m.", vec![tensor("a")]).unwrap();
    state
}

/// What `save` writes.
pub(crate) fn bytes_of(save: impl FnOnce(&Path) -> vqgen::error::Result<()>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    save(&path).unwrap();
    std::fs::read(path).unwrap()
}

pub(crate) fn tokenizer_bytes() -> Vec<u8> {
    bytes_of(|path| tokenizer().save(path))
}

pub(crate) fn prior_bytes() -> Vec<u8> {
    bytes_of(|path| prior().save(path))
}

pub(crate) fn codes_bytes() -> Vec<u8> {
    bytes_of(|path| codes().save(path))
}

pub(crate) fn resume_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path());
    run.create().unwrap();
    std::fs::read(resume_state().publish(&run, false).unwrap()).unwrap()
}

/// A valid file of ours, split into its parts.
pub(crate) fn parts(file: &[u8]) -> Forged {
    Forged::of(file).unwrap()
}

/// Sets one key of a metadata value that is JSON.
pub(crate) fn set_json(file: &mut Forged, key: &str, field: &str, value: serde_json::Value) {
    let mut object: serde_json::Value = serde_json::from_str(&file.metadata[key]).unwrap();
    object[field] = value;
    file.metadata.insert(key.to_owned(), object.to_string());
}

/// The tensor `name` of a file.
pub(crate) fn tensor<'a>(file: &'a mut Forged, name: &str) -> &'a mut Tensor {
    file.tensors.get_mut(name).unwrap()
}
