//! `eval` through the binary: distances between sets of images, samples, the sheet of nearest images, weights from files,
//! and refusals before the long work.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Kind, ModelFile, NamedTensor, parameters};
use vqgen::features::{Inception, LinearLayers, Vgg16};
use workshop::{Workshop, bytes};

fn trained() -> Workshop {
    let shop = Workshop::new();
    for stage in ["train-vqvae", "extract-codes", "train-prior"] {
        shop.tiny(stage).assert().success();
    }
    shop
}

fn eval(shop: &Workshop, flags: &str) -> Value {
    let output = shop.vqgen(&format!("eval --run checkpoints/tiny --json {flags}")).assert();
    serde_json::from_slice(&output.success().get_output().stdout).unwrap()
}

/// Writes the random weights of a net as another project's file.
fn write_weights<M: Module>(net: &M, name_in_file: impl Fn(&str) -> String, path: &Path) {
    let tensors = parameters::named(net).unwrap().into_iter().map(|tensor| {
        NamedTensor::new(name_in_file(&tensor.name), tensor.shape, tensor.data).unwrap()
    });
    ModelFile::new(Kind::Tokenizer, &(), tensors.collect()).unwrap().save(path).unwrap();
}

#[test]
fn samples_are_scored_and_shown_beside_their_nearest_training_image() {
    let shop = trained();
    let line = eval(&shop, "--samples 10 --nearest");
    let images = line["images"].as_u64().unwrap();
    for key in [
        "perceptual",
        &format!("fd_{images}"),
        "kd",
        "swd",
        "sample_fd_10",
        "sample_kd",
        "sample_swd",
    ] {
        assert!(line[key].is_number(), "{key} in {line}");
    }
    for key in ["sample_nearer", "split_nearer"] {
        assert!((0.0..=1.0).contains(&line[key].as_f64().unwrap()), "{key} in {line}");
    }
    for key in ["lpips", "kid", "sample_kid"] {
        assert!(line[key].is_null(), "{key} in {line}");
    }
    // 10 pairs, 8 a row, of 16 pixels, twice enlarged.
    let sheet = image::open(shop.path("generations/tiny/nearest-seed-0.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * 34 + 2, 4 * 34 + 2));

    // The same numbers and the same sheet again, with another number of threads.
    let mut again = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    again.current_dir(shop.path("")).args(["--device", "cpu", "--threads", "1", "--quiet"]);
    again.args("eval --run checkpoints/tiny --json --samples 10 --nearest again.png".split(' '));
    let output = again.assert().success();
    assert_eq!(serde_json::from_slice::<Value>(&output.get_output().stdout).unwrap(), line);
    assert_eq!(
        bytes(shop.path("again.png")),
        bytes(shop.path("generations/tiny/nearest-seed-0.png"))
    );

    // Training images are not held out from themselves.
    let train = eval(&shop, "--split train --samples 3 --nearest again.png");
    assert!(train["split_nearer"].is_null() && train["sample_nearer"].is_number(), "{train}");
    let table = shop.vqgen("eval --run checkpoints/tiny --samples 2").assert().success();
    table.stdout(contains("sample_fd_2 ")).stdout(contains("perceptual "));
}

#[test]
fn lpips_and_fid_come_from_files() {
    let shop = trained();
    let device = Device::flex();
    let same = str::to_owned;
    let [vgg, linear, inception] =
        ["vgg16.safetensors", "lin.safetensors", "inception.safetensors"]
            .map(|name| shop.path(name));
    write_weights(&Vgg16::new(&device), same, &vgg);
    write_weights(&LinearLayers::new(&device), same, &linear);
    write_weights(&Inception::new(&device), Inception::name_in_file, &inception);
    let flags = "--lpips vgg16.safetensors lin.safetensors --fid inception.safetensors --samples 2";
    let line = eval(&shop, flags);
    let fid = format!("fid_{}", line["images"]);
    for key in ["lpips", fid.as_str(), "kid", "sample_fid_2", "sample_kid"] {
        assert!(line[key].is_number(), "{key} in {line}");
    }

    // The wrong way round, and files of something else.
    let tokenizer = "checkpoints/tiny/vqvae.safetensors";
    for (flags, message) in [
        (
            "--lpips lin.safetensors vgg16.safetensors",
            "vgg16.safetensors: has no float tensor lin0.model.1.weight (expected the weights of lpips v0.1 for vgg",
        ),
        ("--lpips missing.pth lin.safetensors", "missing.pth"),
        (
            &format!("--fid {tokenizer}"),
            "has no float tensor Conv2d_1a_3x3.conv.weight (expected the weights of pytorch-fid's Inception",
        ),
        ("--fid pictures/red/00.png", "pictures/red/00.png: is not a complete safetensors file"),
    ] {
        // Before anything is drawn or written.
        shop.vqgen(&format!("eval --run checkpoints/tiny --samples 2 --nearest s.png {flags}"))
            .assert()
            .code(1)
            .stderr(contains(message));
        assert!(!shop.path("s.png").exists());
    }
}

#[test]
fn flags_that_cannot_be_met_are_refused_before_the_work() {
    let shop = Workshop::new();
    shop.tiny("train-vqvae").assert().success();
    let refused = |flags: &str, code: i32, message: &str| {
        shop.vqgen(&format!("eval --run checkpoints/tiny {flags}"))
            .assert()
            .code(code)
            .stderr(contains(message));
    };
    refused("--samples 2", 1, "run train-prior first");
    refused("--samples 1", 2, "allowed are 2 to 1000000");
    refused("--samples many", 2, "allowed are 2 to 1000000");
    refused("--nearest", 2, "--samples");
    refused("--lpips only-one.pth", 2, "2 values required");
    shop.tiny("extract-codes").assert().success();
    shop.tiny("train-prior").assert().success();
    refused("--samples 2 --nearest -", 1, "--nearest is stdout, where the metrics are written");
    refused("--samples 2 --nearest sheet.txt", 1, "not written as .txt");
    refused(
        "--samples 2 --nearest sheet.png --set sample.scale=64 --set data.image_size=16",
        0,
        "wrote sheet.png",
    );

    // Images of 8 pixels have no last stage of VGG16.
    let small = ["--set", "data.image_size=8", "--set", "vqvae.halvings=1"];
    shop.tiny_in("checkpoints/small", "train-vqvae").args(small).assert().success();
    shop.vqgen("eval --run checkpoints/small --lpips a b").assert().code(1).stderr(contains(
        "--lpips compares images of at least 16x16 pixels, these have 8x8 (leave it out)",
    ));
    let line = shop.vqgen("eval --run checkpoints/small --json").assert().success();
    let line: Value = serde_json::from_slice(&line.get_output().stdout).unwrap();
    assert!(line["swd"].is_number() && line["perceptual"].is_number(), "{line}");
}
