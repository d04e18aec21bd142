//! `vqgen data` says what is in a folder.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/workshop.rs"]
mod workshop;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};
use workshop::Workshop;

#[test]
fn counts_copies_captions_and_what_is_skipped_are_told() {
    let shop = Workshop::new();
    std::fs::copy(shop.path("pictures/red/07.png"), shop.path("pictures/red/again.png")).unwrap();
    std::fs::write(shop.path("pictures/red/07.txt"), "a box\nred").unwrap();
    std::fs::write(shop.path("pictures/blue/broken.png"), "no picture").unwrap();
    let output = shop.vqgen("data pictures --json").assert().success().get_output().stdout.clone();
    let found: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(found["images"], 41);
    assert_eq!(found["classes"], json!({"blue": 20, "red": 21}));
    let splits = found["splits"].as_object().unwrap();
    assert_eq!(splits.values().filter_map(Value::as_u64).sum::<u64>(), 41);
    assert_eq!((&found["captioned"], &found["captions"]), (&json!(1), &json!(2)));
    let copies = found["copies"].as_array().unwrap();
    assert_eq!(copies.len(), 1);
    assert!(copies[0].as_array().unwrap().contains(&json!("red/again.png")));
    assert_eq!(found["skipped"][0]["path"], "blue/broken.png");
    assert!(found["recipe"].as_str().unwrap().starts_with("quickstart, data.image_size="));
    // The recipe of a new run, though there is a run of its name.
    shop.tiny("train-vqvae").assert().success();
    shop.vqgen("data pictures -o sheet.png")
        .assert()
        .success()
        .stdout(contains("classes      2: blue 20, red 21").and(contains("captioned    1")))
        .stderr(contains("recipe quickstart").and(contains("wrote sheet.png")));
    let sheet = image::open(shop.path("sheet.png")).unwrap();
    assert_eq!(sheet.width() % 8, 2, "eight columns with padding");
    shop.vqgen("data pictures --run checkpoints/tiny")
        .assert()
        .code(1)
        .stderr(contains("--run is"));
    for command in ["data pictures -o pictures/red/00.png", "data pictures -o pictures/new.png"] {
        let assert = shop.vqgen(command).assert();
        if command.ends_with("new.png") {
            assert.success();
        } else {
            assert.code(1).stderr(contains("pictures/red/00.png, which is an input"));
        }
    }
    shop.vqgen("data nowhere").assert().code(1).stderr(contains("nowhere"));
}
