//! A working directory with a run of valid files, of which a test forges one.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::json;
use vqgen::checkpoint::atomic;
use vqgen::data::{DataConfig, Dataset};

use super::super::forge::Forged;
use super::super::samples;

/// Settings that fit the samples, with training in milliseconds.
const TINY: [&str; 23] = [
    "data.image_size=4",
    "data.channels=1",
    "data.validation=0.05",
    "data.test=0.05",
    "vqvae.loss=mse",
    "vqvae.perceptual.net=none",
    "vqvae.adversarial.loss=none",
    "prior.shift=0",
    "vqvae.width=2",
    "vqvae.residual_blocks=0",
    "vqvae.residual_width=1",
    "vqvae.halvings=1",
    "vqvae.codebook_size=4",
    "vqvae.code_dim=1",
    "vqvae.batch_size=2",
    "vqvae.steps=2",
    "prior.views=none",
    "prior.layers=1",
    "prior.heads=1",
    "prior.width=4",
    "prior.batch_size=2",
    "prior.steps=2",
    "sample.count=2",
];

/// A working directory with the run `checkpoints/tiny` and a data set it fits.
pub(super) struct Workshop(pub(super) tempfile::TempDir);

impl Workshop {
    pub(super) fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let header = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        let pixels: Vec<u8> = (0..40 * 16u32).map(|i| (i * 7) as u8).collect();
        let images = [header(&[0x0803, 40, 4, 4]), pixels].concat();
        shop.write("digits/train-images-idx3-ubyte", &images);
        let labels = [header(&[0x0801, 40]), vec![0; 40]].concat();
        shop.write("digits/train-labels-idx1-ubyte", &labels);
        shop.write("digits/classes.txt", samples::CLASSES.join("\n").as_bytes());

        let path = shop.path("digits").to_str().unwrap().to_owned();
        let config = DataConfig { path, image_size: 4, channels: 1, ..DataConfig::default() };
        let dataset = Dataset::open(&config, true).unwrap();
        let of_the_data = |whole: Vec<u8>| {
            let data = json!(dataset.provenance()).to_string();
            samples::parts(&whole).with(|f| drop(f.metadata.insert("data".into(), data))).bytes()
        };
        for (name, whole) in [
            ("vqvae", samples::tokenizer_bytes()),
            ("codes", samples::codes_bytes()),
            ("prior", samples::prior_bytes()),
        ] {
            shop.write(&format!("checkpoints/tiny/{name}.safetensors"), &of_the_data(whole));
        }
        shop
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        atomic::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Replaces a file of the run by a forged one.
    pub(super) fn forge(&self, name: &str, change: impl FnOnce(&mut Forged)) {
        let name = format!("checkpoints/tiny/{name}");
        let whole = std::fs::read(self.path(&name)).unwrap();
        self.write(&name, &samples::parts(&whole).with(change).bytes());
    }

    pub(super) fn vqgen(&self, line: &str) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
        command.current_dir(self.0.path()).args(line.split_whitespace());
        let run = "--run checkpoints/tiny --device cpu --threads 1 --data digits";
        command.args(run.split_whitespace());
        for key in TINY {
            command.args(["--set", key]);
        }
        command
    }

    /// The message of a command that must fail.
    pub(super) fn error(&self, line: &str) -> String {
        let output = self.vqgen(line).assert().code(1).get_output().stderr.clone();
        let text = String::from_utf8(output).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        text
    }

    /// Every file below the working directory.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.0.path(), &mut found);
        found.sort();
        found
    }
}
