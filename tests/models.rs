//! Tokenizers of other projects on the command line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use workshop::Workshop;

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
