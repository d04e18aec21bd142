//! Models to draw with: packed from a run, and the one inside the binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use workshop::{Workshop, bytes};

#[test]
fn a_packed_run_draws_and_reconstructs_and_is_half_as_large() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let pack = |more: &str| shop.tiny(&format!("pack -o models/small {more}")).assert();
    pack("").success().stdout(contains("models/small/vqvae.safetensors"));
    for name in ["vqvae", "prior"] {
        let size = |folder: &str| {
            let path = shop.path(&format!("{folder}/{name}.safetensors"));
            // Weights alone: the header is as long in both.
            let bytes = bytes(path);
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes.len() - 8 - header
        };
        assert_eq!(2 * size("models/small"), size("checkpoints/tiny"), "{name}");
    }
    shop.vqgen("sample --model models/small -n 4 -o a.png").assert().success();
    shop.vqgen("sample --model models/small -n 2 -o b.png --separate").assert().success();
    shop.vqgen("sample --like a.png -o again.png --model models/small").assert().success();
    assert!(bytes(shop.path("a.png")) == bytes(shop.path("again.png")));
    shop.vqgen("reconstruct pictures/red/00.png --model models/small -o c.png").assert().success();
    shop.vqgen("eval --model models/small --data pictures").assert().success();

    // A second time, into the run itself, and what is not there.
    pack("").code(1).stderr(contains("vqvae.safetensors exists (add --discard"));
    let before = bytes(shop.path("models/small/prior.safetensors"));
    pack("--discard").success();
    assert!(bytes(shop.path("models/small/prior.safetensors")) == before);
    shop.tiny("pack --discard -o checkpoints/tiny")
        .assert()
        .code(1)
        .stderr(contains("-o is checkpoints/tiny, the folder of the run itself"));
    shop.vqgen("pack --run checkpoints/gone -o models/gone")
        .assert()
        .code(1)
        .stderr(contains("there is no checkpoints/gone/vqvae.safetensors"));
    assert!(!shop.path("models/gone").exists());

    std::fs::create_dir_all(shop.path("models/other")).unwrap();
    std::fs::write(shop.path("models/other/recipe.json"), "{}").unwrap();
    shop.tiny("pack -o models/other").assert().code(1).stderr(contains("recipe.json exists"));

    // What is packed trains no further, but others start from it.
    shop.tiny_in("models/small", "train-vqvae --resume").assert().code(1);
    shop.tiny_in("checkpoints/fine", "train-vqvae --from models/small")
        .assert()
        .success()
        .stderr(contains("100 % of the weights"));
}

#[test]
fn the_model_inside_the_binary_draws_what_is_asked_for() {
    let shop = Workshop::new();
    let draw = |more: &str| shop.vqgen(&format!("sample {more}"));
    draw("--model emoji-64 -n 2 --prompt star --class noto -o star.png").assert().success();
    draw("--like star.png -o again.png").assert().success();
    assert!(bytes(shop.path("star.png")) == bytes(shop.path("again.png")));
    draw("--model emoji-64 -n 1")
        .assert()
        .success()
        .stdout(contains("generations/model-emoji-64/"));
    shop.vqgen("reconstruct --model emoji-64 pictures/red -o red.png -n 2").assert().success();

    for command in ["reconstruct", "eval"] {
        shop.vqgen(&format!("{command} --model emoji-64"))
            .assert()
            .code(1)
            .stderr(contains("--model emoji-64 comes without its images"));
    }

    draw("--model emoji -n 1")
        .assert()
        .code(1)
        .stderr(contains("the models inside vqgen are emoji-64"));
    draw("--model emoji-64 --run checkpoints/x")
        .assert()
        .code(1)
        .stderr(contains("both name models"));
    draw("--run checkpoints/x")
        .assert()
        .code(1)
        .stderr(contains("--model emoji-64 draws without a run"));
}

#[test]
fn files_that_are_no_tokenizer_of_another_project_are_refused() {
    let shop = Workshop::new();
    shop.tiny("train-vqvae").assert().success();
    let import = |file: &str| shop.vqgen(&format!("import {file} --run checkpoints/new")).assert();
    import("checkpoints/tiny/vqvae.safetensors").code(1).stderr(contains(
        "is no tokenizer of taming-transformers, LlamaGen, diffusers (its first tensor of floats is codebook.weight)",
    ));
    import("pictures/red/00.png").code(1).stderr(contains("pictures/red/00.png"));
    import("gone.ckpt").code(1).stderr(contains("cannot read gone.ckpt"));
    assert!(!shop.path("checkpoints/new").exists());
}
