//! The masked prior through the command line: trained, evaluated, sampled, and completing any part of an image.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use image::{GrayImage, Luma};
use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Kind, ModelFile};
use vqgen::prior::PriorConfig;
use workshop::{Workshop, bytes};

/// 16 pixels of 4x4 codes.
const GRID: usize = 4;

fn trained(more: &str) -> Workshop {
    let shop = Workshop::new();
    shop.tiny(&format!("run --set prior.kind=masked {more}")).assert().success();
    shop
}

/// The codes that a completion kept: `None` for those drawn.
fn kept(shop: &Workshop, flags: &[&str]) -> Vec<bool> {
    let mut command = shop.vqgen("sample --run checkpoints/tiny -n 2 -o kept.png");
    command.args(["--complete", "pictures/red/01.png"]).args(flags).assert().success();
    let note: Value = serde_json::from_slice(&bytes(shop.path("kept.json"))).unwrap();
    let given = note["given_codes"].as_array().unwrap();
    (0..GRID * GRID).map(|cell| given.get(cell).is_some_and(|code| !code.is_null())).collect()
}

fn cells(is_kept: impl Fn(usize, usize) -> bool) -> Vec<bool> {
    (0..GRID * GRID).map(|cell| is_kept(cell / GRID, cell % GRID)).collect()
}

#[test]
fn a_masked_prior_is_trained_evaluated_and_sampled() {
    let shop = trained("");
    let path = shop.path("checkpoints/tiny/prior.safetensors");
    let config: PriorConfig = ModelFile::load(path, Kind::Prior).unwrap().config().unwrap();
    assert!(config.is_masked());
    let eval = shop.vqgen("eval --run checkpoints/tiny --json").assert().success();
    let line: Value = serde_json::from_slice(&eval.get_output().stdout).unwrap();
    let nats = line["nats_per_code"].as_f64().unwrap();
    assert!(nats > 0.0 && nats < 2.0 * 16f64.ln(), "{nats}");

    let sample = |flags: &str| {
        shop.vqgen(&format!("sample --run checkpoints/tiny --separate {flags}")).assert().success();
    };
    sample("-n 20 -o many.png");
    sample("-n 3 -o few.png");
    for index in 0..3 {
        let [many, few] =
            ["many", "few"].map(|name| bytes(shop.path(&format!("{name}-000{index}.png"))));
        assert!(many == few, "image {index} depends on how many are sampled");
    }
    sample("-n 3 -o quick.png --set sample.passes=1");
    assert!(bytes(shop.path("quick.png")) != bytes(shop.path("few.png")));
    shop.vqgen("sample --like few-0002.png -o again.png").assert().success();
    assert!(bytes(shop.path("again.png")) == bytes(shop.path("few-0002.png")));
}

#[test]
fn any_part_of_an_image_is_kept_and_the_rest_drawn() {
    let shop = trained("");
    assert_eq!(kept(&shop, &[]), cells(|row, _| row < 2));
    assert_eq!(kept(&shop, &["--keep-rows", "1"]), cells(|row, _| row < 1));
    assert_eq!(kept(&shop, &["--keep-columns", "3"]), cells(|_, column| column < 3));
    let both = ["--keep-rows", "1", "--keep-columns", "2"];
    assert_eq!(kept(&shop, &both), cells(|row, column| row < 1 || column < 2));
    assert_eq!(
        kept(&shop, &["--outpaint"]),
        cells(|row, column| (1..3).contains(&row) && (1..3).contains(&column))
    );
    // A white pixel in the last cell of the second row, of a mask of another size.
    let mut mask = GrayImage::new(32, 32);
    mask.put_pixel(31, 8, Luma([255]));
    mask.put_pixel(30, 8, Luma([255]));
    mask.put_pixel(31, 9, Luma([255]));
    mask.put_pixel(30, 9, Luma([255]));
    mask.save(shop.path("mask.png")).unwrap();
    assert_eq!(kept(&shop, &["--mask", "mask.png"]), cells(|row, column| (row, column) != (1, 3)));
    GrayImage::new(8, 8).save(shop.path("black.png")).unwrap();
    let refused = |flags: &[&str], code: i32, message: &str| {
        let mut command = shop.vqgen("sample --run checkpoints/tiny -n 2 -o kept.png");
        command.args(flags).assert().code(code).stderr(contains(message));
    };
    let complete = ["--complete", "pictures/red/01.png"];
    let with = |flags: &[&'static str]| [&complete, flags].concat();
    refused(&with(&["--mask", "black.png"]), 1, "black.png has no white pixel");
    refused(&with(&["--keep-columns", "4"]), 1, "--keep-columns is 4, the image is 4 columns");
    refused(&with(&["--mask", "mask.png", "--outpaint"]), 2, "cannot be used with");
    refused(&["--mask", "mask.png"], 2, "--complete");
}

#[test]
fn an_autoregressive_prior_keeps_rows_and_says_what_it_cannot() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    assert_eq!(kept(&shop, &["--keep-rows", "3"]), cells(|row, _| row < 3));
    shop.vqgen("sample --run checkpoints/tiny --complete pictures/red/01.png --keep-columns 1")
        .assert()
        .code(1)
        .stderr(contains("this prior continues from the first ones (one of prior.kind masked"));
}

#[test]
fn residual_codes_and_rotary_positions_are_masked_too() {
    for more in [
        "--set vqvae.quantizer=residual --set vqvae.depth=2",
        "--set prior.positions=rotary --set prior.code_noise=0.1",
    ] {
        let shop = trained(more);
        shop.vqgen("sample --run checkpoints/tiny -n 2 -o a.png").assert().success();
        assert!(shop.path("a.png").exists());
    }
}
