//! Every kind of quantizer through the binary: training, codes, a prior, samples, completions, evaluation; and what does
//! not fit a kind is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Codes, Kind, ModelFile};
use vqgen::tokenizer::{QuantizerKind, TokenizerConfig};
use workshop::{Workshop, bytes};

/// Every stage with these keys of `vqvae` on top of the tiny recipe; the configuration, the codes and what `eval` says.
fn run(shop: &Workshop, keys: &[&str]) -> (TokenizerConfig, Codes, Value) {
    let more: Vec<String> = keys.iter().map(|key| format!("--set vqvae.{key}")).collect();
    shop.tiny_without(&left_out(keys), &format!("run {}", more.join(" "))).assert().success();
    for line in [
        "sample --run checkpoints/tiny --class red -n 3 -o red.png",
        "sample --run checkpoints/tiny --complete pictures/red/03.png --keep-rows 1 -n 2 -o more.png",
        "reconstruct pictures/red --run checkpoints/tiny -n 3 -o again.png",
    ] {
        shop.vqgen(line).assert().success();
    }
    let file =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    let codes = Codes::load(shop.path("checkpoints/tiny/codes.safetensors")).unwrap();
    let output = shop.vqgen("eval --run checkpoints/tiny --json").assert().success();
    let line: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    for key in ["mse", "psnr_db", "perplexity", "nats_per_code", "bits_per_pixel"] {
        assert!(line[key].is_number(), "{key} in {line}");
    }
    // Another run of the same recipe finds everything done.
    let before = bytes(shop.path("checkpoints/tiny/prior.safetensors"));
    shop.vqgen("run --run checkpoints/tiny").assert().success();
    assert_eq!(before, bytes(shop.path("checkpoints/tiny/prior.safetensors")));
    (file.config().unwrap(), codes, line)
}

/// The settings of the tiny recipe that finite scalars do not have.
fn left_out(keys: &[&str]) -> Vec<&'static str> {
    if keys[0] == "quantizer=fsq" {
        vec!["vqvae.code_dim=4", "vqvae.codebook_size=16"]
    } else {
        Vec::new()
    }
}

/// The names of what is logged in each training line of stage 1.
fn logged(shop: &Workshop) -> Vec<String> {
    let log = std::fs::read_to_string(shop.path("checkpoints/tiny/metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut lines = lines.filter(|line| line["stage"] == "vqvae" && line["split"] == "train");
    lines.next().unwrap().as_object().unwrap().keys().cloned().collect()
}

#[test]
fn finite_scalars_go_through_every_stage() {
    let shop = Workshop::new();
    let (config, codes, line) = run(&shop, &["quantizer=fsq", "levels=[5,4,3]"]);
    assert_eq!(config.quantizer, QuantizerKind::Fsq);
    assert_eq!((config.codebook_size, config.code_dim), (60, 3));
    assert_eq!((codes.codebook_size, codes.depth), (60, 1));
    assert_eq!(line["codebook_size"], 60);
    let logged = logged(&shop);
    assert!(logged.iter().any(|name| name == "reconstruction"), "{logged:?}");
    assert!(!logged.iter().any(|name| name == "codebook" || name == "commitment"), "{logged:?}");
    // A learned table of codes there is none.
    let file =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    assert!(file.tensors().iter().all(|tensor| !tensor.name.starts_with("codebook")));
}

#[test]
fn levels_follow_the_codebook_size_and_are_told() {
    let shop = Workshop::new();
    let line = "train-vqvae --set vqvae.quantizer=fsq --set vqvae.codebook_size=256";
    shop.tiny_without(&left_out(&["quantizer=fsq"]), line)
        .assert()
        .success()
        .stderr(contains("fsq: levels [8, 6, 5], 240 codes"));
}

#[test]
fn a_residual_quantizer_goes_through_every_stage() {
    let shop = Workshop::new();
    let (config, codes, line) = run(&shop, &["quantizer=residual", "depth=3"]);
    assert_eq!((config.quantizer, config.depth), (QuantizerKind::Residual, 3));
    assert_eq!((codes.depth, codes.codebook_size, codes.n_codes()), (3, 16, 4 * 4 * 3));
    assert_eq!(
        (&line["depth"], line["perplexity_by_level"].as_array().unwrap().len()),
        (&Value::from(3), 3)
    );
    let logged = logged(&shop);
    for name in ["codebook", "commitment", "perplexity", "perplexity_1", "perplexity_3"] {
        assert!(logged.iter().any(|one| one == name), "{name} in {logged:?}");
    }
    let file =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    for name in ["codebook.0.weight", "codebook.2.weight"] {
        let tensor = file.tensors().iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor.shape, [16, 4]);
    }
    // A prior of other depths is refused.
    shop.tiny_in("checkpoints/other", "train-vqvae").assert().success();
    let other = shop.path("checkpoints/other/vqvae.safetensors");
    std::fs::copy(other, shop.path("checkpoints/tiny/vqvae.safetensors")).unwrap();
    shop.vqgen("sample --run checkpoints/tiny -n 1").assert().code(1);
}

#[test]
fn the_variants_of_a_codebook_go_through_every_stage() {
    let shop = Workshop::new();
    let (config, ..) =
        run(&shop, &["codebook=simvq", "gradient_estimator=rotation", "normalize_codes=true"]);
    assert!(config.codebook_map && config.normalize_codes);
    let file =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    let map = file.tensors().iter().find(|tensor| tensor.name == "codebook.map").unwrap();
    assert_eq!(map.shape, [4, 4]);
    // The codes stay as they were drawn.
    let other = Workshop::new();
    other.tiny("train-vqvae --set vqvae.codebook=simvq --steps 4").assert().success();
    let other =
        ModelFile::load(other.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    let frozen = |file: &ModelFile| {
        let mut weights = file.tensors().iter();
        weights.find(|tensor| tensor.name == "codebook.weight").unwrap().data.clone()
    };
    assert_eq!(frozen(&file), frozen(&other));
}

#[test]
fn what_does_not_fit_a_quantizer_is_refused_in_words() {
    let shop = Workshop::new();
    for (keys, message) in [
        (
            "quantizer=fsq vqvae.levels=[8,8,8,8,8,8,8]",
            "make 2097152 codes, allowed are up to 65536",
        ),
        ("quantizer=fsq vqvae.levels=[8,2]", "vqvae.levels has the entry 2, allowed are 3 to 256"),
        ("quantizer=fsq vqvae.levels=[8]", "vqvae.levels has 1 entries, allowed are 2 to 10"),
        (
            "quantizer=fsq vqvae.codebook_size=2",
            "the nearest levels of the fsq quantizer are [3, 3]",
        ),
        (
            "quantizer=fsq vqvae.kmeans_init=true",
            "vqvae.kmeans_init is only for the ema or gradient codebook",
        ),
        (
            "quantizer=fsq vqvae.code_dim=4",
            "vqvae.code_dim is only for the vq or residual quantizer",
        ),
        ("quantizer=residual vqvae.depth=0", "vqvae.depth is 0, allowed are 2 to 8"),
        ("quantizer=residual vqvae.depth=9", "vqvae.depth is 9, allowed are 2 to 8"),
        (
            "quantizer=residual vqvae.normalize_codes=true",
            "vqvae.normalize_codes is only for the vq quantizer",
        ),
        ("depth=2", "vqvae.depth is only for the residual quantizer"),
        ("levels=[8,8]", "vqvae.levels is only for the fsq quantizer"),
        ("codebook=none", "vqvae.codebook is none, allowed are ema, gradient or simvq"),
        (
            "codebook=simvq vqvae.restart_after=5",
            "vqvae.restart_after is only for the ema or gradient",
        ),
        ("quantizer=lfq", "vqvae.quantizer in --set is \"lfq\""),
        (
            "quantizer=residual vqvae.depth=4 prior.positions=rotary",
            "rotary positions are for one code",
        ),
    ] {
        let keys: Vec<String> = keys.split(' ').map(|key| format!(" --set {key}")).collect();
        let line = format!("train-vqvae{}", keys.concat()).replacen("--set ", "--set vqvae.", 1);
        // The tiny recipe names keys of its own: here only what is in question.
        shop.vqgen(&format!(
            "{line} --data pictures --run checkpoints/none --set data.image_size=16"
        ))
        .assert()
        .code(1)
        .stderr(contains(message));
    }
    assert!(!shop.path("checkpoints/none/vqvae.safetensors").exists());
}
