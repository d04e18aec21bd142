//! The whole pipeline through the binary, on a folder of tiny images: every stage, its outputs, and its refusals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::str::contains;
use serde_json::Value;
use vqgen::checkpoint::{Codes, Kind, ModelFile};
use workshop::{Workshop, bytes};

#[test]
fn one_command_takes_images_through_all_stages_and_leaves_pictures() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success().stdout(contains("generations/tiny/samples-seed-0.png"));
    for file in [
        "checkpoints/tiny/recipe.json",
        "checkpoints/tiny/metrics.jsonl",
        "generations/tiny/samples-seed-0.json",
        "reconstructions/tiny/test.png",
        "reconstructions/tiny/training/step-000008.png",
    ] {
        assert!(shop.path(file).is_file(), "{file}");
    }
    let tokenizer =
        ModelFile::load(shop.path("checkpoints/tiny/vqvae.safetensors"), Kind::Tokenizer).unwrap();
    let codes = Codes::load(shop.path("checkpoints/tiny/codes.safetensors")).unwrap();
    let prior =
        ModelFile::load(shop.path("checkpoints/tiny/prior.safetensors"), Kind::Prior).unwrap();
    assert_eq!(codes.n_images(), 80); // unchanged and flipped
    assert_eq!(codes.classes, ["blue", "red"]);
    assert_eq!(codes.tokenizer, tokenizer.fingerprint());
    assert_eq!(prior.metadata("tokenizer").unwrap(), tokenizer.fingerprint());
    assert_eq!(prior.metadata("codes").unwrap(), codes.fingerprint());
    for line in
        std::fs::read_to_string(shop.path("checkpoints/tiny/metrics.jsonl")).unwrap().lines()
    {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["stage"].is_string() && line["step"].is_u64() && line["split"].is_string());
    }

    // A second run finds everything done and changes no model.
    let before = bytes(shop.path("checkpoints/tiny/prior.safetensors"));
    shop.tiny("run").assert().success();
    assert_eq!(before, bytes(shop.path("checkpoints/tiny/prior.safetensors")));

    // The run remembers its recipe: `eval` needs no flag but the run.
    let output = shop.vqgen("eval --run checkpoints/tiny --json").assert().success();
    let line: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    for key in ["mse", "nmse", "psnr_db", "ssim", "perplexity", "nats_per_code", "bits_per_pixel"] {
        assert!(line[key].is_number(), "{key} in {line}");
    }
    assert_eq!((&line["split"], line["codes_used"].is_u64()), (&Value::from("test"), true));

    // Every file of the run says what it is.
    let inspect = |name: &str| -> Value {
        let path = format!("checkpoints/tiny/{name}");
        let output = shop.vqgen("inspect").arg(path).assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    };
    for (name, format) in [
        ("vqvae.safetensors", "vqgen.vqvae.1"),
        ("codes.safetensors", "vqgen.codes.1"),
        ("prior.safetensors", "vqgen.prior.1"),
        ("resume/prior.safetensors", "vqgen.resume.1"),
    ] {
        let shown = inspect(name);
        assert_eq!(shown["format"], format, "{name}: {shown}");
        assert!(shown["values"].as_u64() > Some(0), "{name}: {shown}");
    }
    assert_eq!(inspect("codes.safetensors")["classes"], serde_json::json!(["blue", "red"]));
    let shown = inspect("prior.safetensors");
    assert!(
        shown["config"]["n_classes"] == 2 && shown["tensors"]["head.weight"].is_string(),
        "{shown}"
    );
    let course = inspect("metrics.jsonl");
    for stage in ["vqvae", "prior"] {
        let train = &course[stage]["train"];
        assert!(train["lowest"]["gradient_norm"].is_f64(), "{course}");
        assert!(train["last"]["step"].is_u64() && train["lines"].is_u64(), "{course}");
    }
    let damaged = shop.path("damaged.safetensors");
    let mut copy = bytes(shop.path("checkpoints/tiny/prior.safetensors"));
    *copy.last_mut().unwrap() ^= 1;
    std::fs::write(damaged, copy).unwrap();
    let assert = shop.vqgen("inspect").arg("damaged.safetensors").assert().code(1);
    assert.stderr(contains("is damaged: the checksum"));
}

#[test]
fn image_i_of_a_seed_does_not_depend_on_how_many_are_sampled() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    let sample = |n: usize, output: &str| {
        shop.vqgen(&format!(
            "sample --run checkpoints/tiny --seed 7 -n {n} --separate -o {output}"
        ))
        .assert()
        .success();
    };
    sample(4, "few/s.png");
    sample(37, "many/s.png");
    for i in 0..4 {
        let name = format!("s-{i:04}.png");
        assert_eq!(bytes(shop.path("few").join(&name)), bytes(shop.path("many").join(&name)));
    }
    shop.vqgen("sample --run checkpoints/tiny --class RED --temperature 0 -n 2 -o greedy.png")
        .assert()
        .success();
    shop.vqgen("sample --run checkpoints/tiny --complete pictures/red/03.png --keep-rows 2 -n 2")
        .assert()
        .success()
        .stderr(contains("is 23x24 pixels, the tokenizer is for 16x16"));
    for (line, message) in [
        ("--class green", "cannot sample class green: the classes are blue, red"),
        ("--top-k 17", "top-k is 17, allowed are 1 to 16"),
        ("--temperature -1", "temperature"),
        ("--complete pictures/red/03.png --keep-rows 4", "allowed are 1 to 3"),
        ("--complete missing.png", "missing.png"),
    ] {
        shop.vqgen(&format!("sample --run checkpoints/tiny -n 2 {line}"))
            .assert()
            .code(1)
            .stderr(contains(message));
    }
    shop.vqgen("sample --run checkpoints/tiny -n 900000 --set sample.columns=1")
        .assert()
        .code(1)
        .stderr(contains("is larger than 32768 pixels per side"));
    shop.vqgen(
        "reconstruct pictures/red pictures/blue/01.png --run checkpoints/tiny -n 5 -o r.png",
    )
    .assert()
    .success();
    assert!(shop.path("r.png").is_file());
}

#[test]
fn training_goes_on_where_it_stopped() {
    let shop = Workshop::new();
    let constant = ["--set", "vqvae.schedule=constant"];
    shop.tiny("train-vqvae --steps 4").args(constant).assert().success();
    shop.tiny("train-vqvae --steps 8")
        .args(constant)
        .assert()
        .code(1)
        .stderr(contains("already holds a vqvae stage: resume with --resume"));
    shop.tiny("train-vqvae --steps 8 --resume").args(constant).assert().success();
    let stopped = bytes(shop.path("checkpoints/tiny/resume/vqvae.safetensors"));
    std::fs::remove_dir_all(shop.path("checkpoints")).unwrap();
    shop.tiny("train-vqvae --steps 8").args(constant).assert().success();
    assert!(stopped == bytes(shop.path("checkpoints/tiny/resume/vqvae.safetensors")));

    shop.tiny("train-vqvae --steps 9 --resume")
        .args(constant)
        .args(["--set", "vqvae.width=16"])
        .assert()
        .code(1)
        .stderr(contains("vqvae.width was 8 and is now 16"));
    shop.tiny("train-prior --resume").assert().code(1);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let shop = Workshop::new();
    shop.tiny("train-prior").assert().code(1).stderr(contains("run train-vqvae first"));
    shop.tiny("run").assert().success();
    shop.tiny_in("checkpoints/other", "train-vqvae --seed 5").assert().success();
    let other = shop.path("checkpoints/other/vqvae.safetensors");
    std::fs::copy(other, shop.path("checkpoints/tiny/vqvae.safetensors")).unwrap();
    shop.vqgen("sample --run checkpoints/tiny -n 2")
        .assert()
        .code(1)
        .stderr(contains("was trained on codes of tokenizer"))
        .stderr(contains("run extract-codes and train-prior again"));
    shop.vqgen("sample --run checkpoints/none -n 2")
        .assert()
        .code(1)
        .stderr(contains("there is no checkpoints/none/vqvae.safetensors (run train-vqvae first"));
}
