//! Trainings that start from another model: of the same images, of another size, other classes and other captions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::prelude::*;
use predicates::str::contains;
use workshop::{Workshop, bytes};

fn score(shop: &Workshop, run: &str, key: &str) -> f64 {
    let log =
        std::fs::read_to_string(shop.path(&format!("checkpoints/{run}/metrics.jsonl"))).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line[key].as_f64()).next_back().unwrap()
}

#[test]
fn a_training_goes_on_where_another_ended() {
    let shop = Workshop::new();
    shop.tiny("run --set prior.kind=masked").assert().success();
    let fine = |stage: &str, more: &str| {
        shop.tiny_in("checkpoints/fine", &format!("{stage} --from checkpoints/tiny {more}"))
            .assert()
    };
    fine("train-vqvae", "")
        .success()
        .stderr(contains("starts from checkpoints/tiny/vqvae.safetensors: 100 % of the weights"));
    assert!(score(&shop, "fine", "nmse") < score(&shop, "tiny", "nmse"));
    shop.tiny_in("checkpoints/fine", "extract-codes").assert().success();
    fine("train-prior", "--set prior.kind=masked")
        .success()
        .stderr(contains("starts from checkpoints/tiny/prior.safetensors: 100 % of the weights"));
    // A resumed training starts from its own checkpoint.
    fine("train-vqvae", "--resume").code(2).stderr(contains("cannot be used with"));
    let before = bytes(shop.path("checkpoints/fine/prior.safetensors"));
    shop.tiny_in("checkpoints/fine", "train-prior --resume --set prior.kind=masked")
        .assert()
        .success()
        .stderr(contains("starts from").not());
    assert!(bytes(shop.path("checkpoints/fine/prior.safetensors")) == before);
}

#[test]
fn what_does_not_fit_is_named_and_the_rest_is_kept() {
    let shop = Workshop::new();
    shop.tiny("run").assert().success();
    // Another size and another codebook, other classes, and captions.
    std::fs::rename(shop.path("pictures/red"), shop.path("pictures/green")).unwrap();
    for n in 0..20 {
        std::fs::write(shop.path(&format!("pictures/green/{n:02}.txt")), "stripes").unwrap();
    }
    let fine = |line: &str| {
        let left = ["data.image_size=16", "vqvae.codebook_size=16"];
        let mut command = shop.vqgen(line);
        command.args(["--data", "pictures", "--run", "checkpoints/fine"]);
        for key in workshop::TINY.iter().filter(|key| !left.contains(key)) {
            command.args(["--set", key]);
        }
        command.args(["--set", "data.image_size=24", "--set", "vqvae.codebook_size=12"]).assert()
    };
    fine("train-vqvae --from checkpoints/tiny/vqvae.safetensors")
        .success()
        .stderr(contains("anew: codebook.weight"));
    fine("extract-codes").success();
    fine("train-prior --from checkpoints/tiny")
        .success()
        .stderr(contains("starts from checkpoints/tiny/prior.safetensors: "))
        .stderr(contains(
            "caption.position, caption.token.weight, head.weight, position, token.weight",
        ));

    // A wrong file, none, and one of which nothing fits.
    fine("train-prior --discard --from checkpoints/tiny/vqvae.safetensors")
        .code(1)
        .stderr(contains("cannot start from checkpoints/tiny/vqvae.safetensors"));
    fine("train-vqvae --discard --from gone").code(1).stderr(contains("cannot start from gone"));
    assert!(shop.path("checkpoints/fine/prior.safetensors").exists());
}
