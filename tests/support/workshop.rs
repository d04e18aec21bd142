//! A folder of tiny pictures and the binary to run on them: every stage takes milliseconds.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use image::{Rgb, RgbImage};

/// Settings with which every stage takes milliseconds: further terms of the loss would cost more than all else.
pub(crate) const TINY: [&str; 27] = [
    "data.image_size=16",
    "data.validation=0.2",
    "data.test=0.2",
    "vqvae.loss=mse",
    "vqvae.perceptual.net=none",
    "vqvae.adversarial.loss=none",
    "prior.shift=0",
    "vqvae.width=8",
    "vqvae.residual_width=4",
    "vqvae.residual_blocks=1",
    "vqvae.codebook_size=16",
    "vqvae.code_dim=4",
    "vqvae.batch_size=8",
    "vqvae.steps=8",
    "vqvae.warmup_steps=2",
    "vqvae.log_every=3",
    "vqvae.validate_every=4",
    "vqvae.checkpoint_every=4",
    "prior.layers=1",
    "prior.heads=2",
    "prior.width=8",
    "prior.batch_size=8",
    "prior.steps=8",
    "prior.warmup_steps=2",
    "prior.log_every=3",
    "prior.validate_every=4",
    "sample.columns=2",
];

/// A temporary folder with `pictures/{red,blue}/*.png` in it.
pub(crate) struct Workshop(tempfile::TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (class, hue) in [("red", [220, 40, 40]), ("blue", [40, 60, 220])] {
            let folder = dir.path().join("pictures").join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for n in 0..20u32 {
                let picture = RgbImage::from_fn(20 + n, 24, |x, y| {
                    let inside = (x + n) % 13 < 6 && y % 11 < 7;
                    Rgb(if inside { hue } else { [250, 250, (n * 12) as u8] })
                });
                picture.save(folder.join(format!("{n:02}.png"))).unwrap();
            }
        }
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `vqgen` in the folder, on the CPU.
    pub(crate) fn vqgen(&self, line: &str) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command.args(["--device", "cpu", "--threads", "2"]);
        command
    }

    /// The same with the tiny recipe.
    pub(crate) fn tiny(&self, line: &str) -> Command {
        self.tiny_in("checkpoints/tiny", line)
    }

    /// The same without some of its settings.
    pub(crate) fn tiny_without(&self, left_out: &[&str], line: &str) -> Command {
        let mut command = self.vqgen(line);
        command.args(["--data", "pictures", "--run", "checkpoints/tiny"]);
        for key in TINY.iter().filter(|key| !left_out.contains(key)) {
            command.args(["--set", key]);
        }
        command
    }

    /// The same in another run.
    pub(crate) fn tiny_in(&self, run: &str, line: &str) -> Command {
        let mut command = self.vqgen(line);
        command.args(["--data", "pictures", "--run", run]);
        for key in TINY {
            command.args(["--set", key]);
        }
        command
    }
}

pub(crate) fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}
