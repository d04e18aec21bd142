//! Any bytes are a training state or an error, also with corrected checksums.
#![no_main]

#[path = "../../tests/hostile/forge.rs"]
#[allow(dead_code)]
mod forge;

use forge::Forged;
use libfuzzer_sys::fuzz_target;
use vqgen::checkpoint::{ResumeState, Stage};

fuzz_target!(|bytes: &[u8]| {
    for stage in [Stage::Vqvae, Stage::Prior] {
        let _ = ResumeState::from_bytes("state", bytes.to_vec(), stage);
        let Some(parts) = Forged::of(bytes) else { return };
        let Ok(mut state) = ResumeState::from_bytes("state", parts.bytes(), stage) else {
            continue;
        };
        let _ = state.counters::<serde_json::Value>();
        for prefix in ["model.", "adamw.m.", "adamw.v.", "extra.", ""] {
            state.take(prefix);
        }
        state.expect_empty().expect("everything was taken");
    }
});
