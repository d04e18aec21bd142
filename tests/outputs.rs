//! Output of pictures through the binary: formats, what must not be replaced, and checks before the work.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use image::ImageFormat;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use workshop::{Workshop, bytes};

#[test]
fn a_picture_is_what_its_name_says_and_replaces_nothing_else() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let sample = |flags: &str| shop.vqgen(&format!("sample --run checkpoints/tiny {flags}"));

    sample("-o x.jpg").assert().success();
    assert_eq!(image::guess_format(&bytes(shop.path("x.jpg"))).unwrap(), ImageFormat::Jpeg);
    sample("-o x.docx").assert().code(1).stderr(contains("pictures are not written as .docx"));
    std::fs::write(shop.path("sheet.json"), "{\"mine\": 1}").unwrap();
    sample("-o sheet.png")
        .assert()
        .code(1)
        .stderr(contains("sheet.json, which vqgen did not write"));
    assert_eq!(bytes(shop.path("sheet.json")), b"{\"mine\": 1}");
    assert!(!shop.path("sheet.png").exists());

    let piped = sample("-o - --quiet").assert().success();
    let png = &piped.get_output().stdout;
    assert_eq!(image::guess_format(png).unwrap(), ImageFormat::Png);
    sample("-o folder/").assert().success().stdout(contains("folder/samples-seed-0.png"));

    let before = bytes(shop.path("pictures/red/01.png"));
    let reconstruct =
        |flags: &str| shop.vqgen(&format!("reconstruct --run checkpoints/tiny {flags}"));
    for paths in ["pictures/red/01.png", "pictures"] {
        reconstruct(&format!("{paths} -o pictures/red/01.png"))
            .assert()
            .code(1)
            .stderr(contains("which is an input and would be replaced"));
    }
    sample("-n 2 --complete pictures/red/01.png -o pictures/red/01.png").assert().code(1);
    assert!(bytes(shop.path("pictures/red/01.png")) == before);

    // With more images than a grid can hold, only the single files are written.
    sample("-n 1000 --set sample.columns=1 --separate -o many/s.png")
        .assert()
        .success()
        .stderr(contains("only the single images are written"))
        .stdout(contains("many/s-0000.png to many/s-0999.png"));
    assert!(shop.path("many/s-0999.png").is_file() && !shop.path("many/s.png").exists());
}

#[test]
fn runs_of_one_name_do_not_share_their_pictures() {
    let shop = Workshop::new();
    for run in ["a/mine", "b/mine"] {
        shop.tiny_in(run, "run").assert().success();
        assert!(shop.path(run).join("generations/samples-seed-0.png").is_file());
        assert!(shop.path(run).join("reconstructions/test.png").is_file());
    }
    assert!(!shop.path("generations").exists() && !shop.path("reconstructions").exists());
}

#[test]
fn outputs_that_cannot_be_written_are_found_before_the_work() {
    for folder in ["generations", "reconstructions"] {
        let shop = Workshop::new();
        std::fs::write(shop.path(folder), "in the way").unwrap();
        shop.tiny("run").assert().code(1).stderr(contains(format!("cannot create {folder}/tiny")));
        assert!(!shop.path("checkpoints/tiny/vqvae.safetensors").exists());
    }
    let shop = Workshop::new();
    for (key, message) in [
        ("sample.count=900000", "is larger than 32768 pixels per side"),
        ("sample.top_k=17", "sample.top_k is 17"),
    ] {
        shop.tiny("run").args(["--set", key]).assert().code(1).stderr(contains(message));
        assert!(!shop.path("checkpoints/tiny/vqvae.safetensors").exists());
    }
}

#[test]
fn the_device_line_counts_the_threads_that_compute() {
    let shop = Workshop::new();
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    command.args(["devices", "--threads", "1"]).current_dir(shop.path("."));
    command.assert().success().stdout(contains(", 1 thread").and(contains("1 threads").not()));
    shop.vqgen("devices").assert().success().stdout(contains(", 2 threads")).stderr(is_empty());
}
