//! `vqgen bench` runs and reports what it measured. Speed itself is not tested.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn bench(args: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    command.args(["bench", "--device", "cpu", "--quiet", "--repeats", "1"]).args(args);
    command
}

#[test]
fn each_case_is_one_line_of_json() {
    for (case, unit, n_lines) in
        [("vqvae-encode", "images/s", 1), ("gpt-sample", "tokens/s", 4), ("extract", "images/s", 2)]
    {
        let output = bench(&["--case", case]).assert().success().get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), n_lines);
        for line in lines {
            assert_eq!((&line["case"], &line["unit"]), (&case.into(), &unit.into()));
            assert!(
                line["median_ms"].as_f64().unwrap() > 0.0 && line["rate"].as_f64().unwrap() > 0.0
            );
            assert!(line["variant"].is_string() && line["threads"].as_u64().unwrap() > 0);
            assert!(line.as_object().unwrap().contains_key("commit"));
        }
    }
}

#[test]
fn the_quickstart_is_a_step_of_each_stage_and_its_samples() {
    let output = bench(&["--case", "quickstart"]).assert().success().get_output().stdout.clone();
    let lines = String::from_utf8(output).unwrap();
    let variants: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["variant"].to_string())
        .collect();
    assert_eq!(variants, ["\"stage 1 step\"", "\"stage 2 step\"", "\"samples\""]);
}

#[test]
fn an_unknown_case_lists_those_there_are() {
    bench(&["--case", "gtp"]).assert().code(1).stderr(contains(
        "there is no case gtp (there are vqvae-train, vqvae-perceptual, vqvae-adversarial, ",
    ));
    let mut none = assert_cmd::cargo::cargo_bin_cmd!("vqgen");
    none.args(["bench", "--repeats", "0"]).assert().code(2);
}

#[test]
fn instructions_and_precision_can_be_chosen_and_what_is_impossible_is_refused() {
    // The kernels' tests compare the instruction sets; here only the switches are tested.
    for set in ["plain", "avx2", "avx512", "avx512-bf16", "amx"] {
        bench(&["--case", "vqvae-encode"]).env("VQGEN_INSTRUCTIONS", set).assert().success();
    }
    bench(&["--case", "vqvae-encode"])
        .env("VQGEN_INSTRUCTIONS", "sse9")
        .assert()
        .code(1)
        .stderr(contains("VQGEN_INSTRUCTIONS is \"sse9\", allowed are plain, avx2, avx512"));
    bench(&["--case", "vqvae-encode", "--precision", "bf16"])
        .env("VQGEN_INSTRUCTIONS", "avx2")
        .assert()
        .code(1)
        .stderr(contains("bf16 is not available on this CPU").and(contains("--precision")));
    bench(&["--precision", "f16"])
        .assert()
        .code(2)
        .stderr(contains("allowed are auto, f32 and bf16"));
}
