//! The metrics log as tests compare it.

use std::fs;

use serde_json::{Map, Value};
use vqgen::checkpoint::RunDir;

/// The log of a run without timings, which differ between any two runs.
pub(crate) fn timeless(run: &RunDir) -> Vec<u8> {
    let log = fs::read_to_string(run.metrics_path()).unwrap();
    let lines = log.lines().map(|line| {
        let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
        line.retain(|key, _| !key.ends_with("_per_s"));
        Value::Object(line).to_string() + "\n"
    });
    lines.collect::<String>().into_bytes()
}
