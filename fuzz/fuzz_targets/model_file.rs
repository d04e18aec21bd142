//! Any bytes are a model that can be built or an error, also with corrected checksums.
#![no_main]

#[path = "../../tests/hostile/forge.rs"]
#[allow(dead_code)]
mod forge;

use forge::Forged;
use libfuzzer_sys::fuzz_target;
use vqgen::checkpoint::{Kind, ModelFile};
use vqgen::device::Device;
use vqgen::prior::Gpt;
use vqgen::tokenizer::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Tokenizer, Kind::Prior] {
        let _ = ModelFile::from_bytes("model", bytes.to_vec(), kind);
        let Some(parts) = Forged::of(bytes) else { return };
        let Ok(file) = ModelFile::from_bytes("model", parts.bytes(), kind) else { continue };
        let device = Device::flex();
        match kind {
            Kind::Tokenizer => drop(file.build(|config| Tokenizer::new(config, 0, &device))),
            Kind::Prior => drop(file.build(|config| Gpt::new(config, 0, &device))),
        }
    }
});
