//! Any bytes are codes in range or an error, also with corrected checksums.
#![no_main]

#[path = "../../tests/hostile/forge.rs"]
#[allow(dead_code)]
mod forge;

use forge::Forged;
use libfuzzer_sys::fuzz_target;
use vqgen::checkpoint::Codes;

fuzz_target!(|bytes: &[u8]| {
    let _ = Codes::from_bytes("codes", bytes.to_vec());
    let Some(parts) = Forged::of(bytes) else { return };
    if let Ok(codes) = Codes::from_bytes("codes", parts.bytes()) {
        let all: Vec<usize> = (0..codes.n_images()).collect();
        let counted: u64 = codes.counts(&all).into_iter().sum();
        assert_eq!(counted as usize, codes.codes.len());
        for split in 0..3 {
            codes.images_of(split, true);
        }
    }
});
