//! The terms of stage 1's loss through the binary: what is logged, which model is kept, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Kind, ModelFile};
use workshop::{TINY, Workshop};

/// Trains the tiny tokenizer with these keys of `vqvae`; the lines of its log of this split.
fn train(shop: &Workshop, keys: &[&str], split: &str) -> Vec<Value> {
    let more: String = keys.iter().map(|key| format!(" --set vqvae.{key}")).collect();
    let is_chosen =
        |none: &&str| none.ends_with("=none") && more.contains(&none.replace("none", ""));
    let left_out: Vec<&str> = TINY.into_iter().filter(is_chosen).collect();
    shop.tiny_without(&left_out, &format!("train-vqvae{more}")).assert().success();
    let log = std::fs::read_to_string(shop.path("checkpoints/tiny/metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["split"] == split).collect()
}

#[test]
fn the_log_tells_when_a_term_starts_and_how_a_discriminator_fares() {
    let shop = Workshop::new();
    let keys = [
        "adversarial.loss=hinge",
        "adversarial.start_step=3",
        "adversarial.ramp_steps=2",
        "adversarial.share=0.5",
        "perceptual.net=builtin",
        "perceptual.share=0.5",
        "perceptual.start_step=3",
        "focal_frequency=0.1",
    ];
    let lines = train(&shop, &keys, "train");
    let value = |line: &Value, name: &str| {
        line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line}"))
    };
    let (before, after) = (&lines[0], &lines[1]);
    for name in ["reconstruction", "perceptual", "focal_frequency", "discriminator", "lecam"] {
        value(after, name);
    }
    // The loss is the weighted sum of what is minimised; codebook moves by averages.
    for line in [before, after] {
        let sum = value(line, "reconstruction")
            + 0.25 * value(line, "commitment")
            + 0.1 * value(line, "focal_frequency")
            + 0.3 * value(line, "perceptual")
            + 0.1 * value(line, "adversarial")
            + 0.5 * value(line, "feature_matching");
        assert!((value(line, "loss") - sum).abs() < 1e-4 * sum.abs(), "{sum} in {line}");
    }
    for name in ["perceptual", "adversarial", "feature_matching", "discriminator", "patches_right"]
    {
        assert_eq!(value(before, name), 0.0, "{name} before the start");
    }
    for name in ["perceptual", "feature_matching"] {
        assert!(value(after, name) > 0.0, "{name} after the start");
    }
    let right = value(after, "patches_right");
    assert!((0.0..=1.0).contains(&right), "{right}");
}

#[test]
fn validation_measures_the_perceptual_term_and_a_discriminator_keeps_the_newest_model() {
    let shop = Workshop::new();
    let lines = train(&shop, &["perceptual.net=builtin", "ema_weights=0.5"], "validation");
    assert!(lines.iter().all(|line| line["perceptual"].as_f64().unwrap() > 0.0), "{lines:?}");

    // The model of step 0 is the best by far: what follows is destroyed by a far too large rate.
    let shop = Workshop::new();
    let keys = ["adversarial.loss=non-saturating", "adversarial.start_step=0", "learning_rate=0.3"];
    train(&shop, &keys, "validation");
    let file =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    let provenance: Value = file.json("provenance").unwrap();
    assert_eq!(provenance["step"], 8, "{provenance}");
}

#[test]
fn averaged_weights_are_in_the_file() {
    let weights = |keys: &[&str]| {
        let shop = Workshop::new();
        train(&shop, keys, "train");
        let path = shop.path("checkpoints/tiny/vqvae.safetensors");
        let file = ModelFile::load(path, Kind::Tokenizer).unwrap();
        let mut tensors = file.tensors().iter();
        tensors.find(|tensor| tensor.name == "decoder.from_codes.weight").unwrap().data.clone()
    };
    assert_ne!(weights(&["ema_weights=0.9"]), weights(&[]));
}

#[test]
fn what_does_not_fit_a_loss_is_refused_in_words() {
    let shop = Workshop::new();
    std::fs::write(shop.path("vgg.pth"), "no weights").unwrap();
    for (keys, message) in [
        (
            "perceptual.net=lpips-vgg",
            "vqvae.perceptual.vgg is empty, and the net lpips-vgg takes its weights from a file that vqgen does not \
             download",
        ),
        (
            "perceptual.net=lpips-vgg vqvae.perceptual.vgg=vgg.pth",
            "vqvae.perceptual.linear is empty",
        ),
        (
            "perceptual.net=lpips-vgg vqvae.perceptual.vgg=vgg.pth vqvae.perceptual.linear=vgg.pth",
            "vgg.pth: ",
        ),
        (
            "perceptual.net=lpips-vgg vqvae.perceptual.vgg=a vqvae.perceptual.linear=b data.image_size=8",
            "compares images of at least 16x16 pixels, and data.image_size is 8",
        ),
        (
            "perceptual.net=lpips",
            "vqvae.perceptual.net in --set is \"lpips\", expected \"none\", \"builtin\" or \"lpips-vgg\"",
        ),
        (
            "perceptual.net=none vqvae.perceptual.weight=0.5",
            "vqvae.perceptual.weight is only for the builtin or lpips-vgg net",
        ),
        ("perceptual.net=builtin vqvae.perceptual.share=1.5", "vqvae.perceptual.share is 1.5"),
        (
            "adversarial.loss=none vqvae.adversarial.weight=0.5",
            "vqvae.adversarial.weight is only for the hinge or non-saturating",
        ),
        ("adversarial.loss=hinge vqvae.adversarial.beta1=1", "vqvae.adversarial.beta1 is 1"),
        ("loss=mse vqvae.huber_delta=0.5", "vqvae.huber_delta is only for the huber loss"),
        ("loss=huber vqvae.huber_delta=0", "vqvae.huber_delta is 0"),
        ("ema_weights=1", "vqvae.ema_weights is 1"),
    ] {
        let keys: Vec<String> = keys.split(' ').map(|key| format!(" --set {key}")).collect();
        let line = format!("train-vqvae{}", keys.concat()).replacen("--set ", "--set vqvae.", 1);
        let rest = "--data pictures --run checkpoints/none --set data.image_size=16";
        let line = if line.contains("image_size") {
            format!("{line} --data pictures --run checkpoints/none")
        } else {
            format!("{line} {rest}")
        };
        shop.vqgen(&line).assert().code(1).stderr(contains(message));
    }
    assert!(!shop.path("checkpoints/none/vqvae.safetensors").exists());
}
