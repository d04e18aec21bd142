//! Any bytes are codes in range or an error, also with corrected checksums.
#![no_main]

#[path = "../../tests/hostile/forge.rs"]
#[allow(dead_code)]
mod forge;

use forge::Forged;
use libfuzzer_sys::fuzz_target;
use vqgen::checkpoint::Codes;
use vqgen::data::Split;

fuzz_target!(|bytes: &[u8]| {
    let _ = Codes::from_bytes("codes", bytes.to_vec());
    let Some(parts) = Forged::of(bytes) else { return };
    if let Ok(codes) = Codes::from_bytes("codes", parts.bytes()) {
        let grids = (0..codes.n_images()).flat_map(|image| codes.grid(image));
        assert_eq!(grids.clone().count(), codes.codes.len());
        assert!(grids.clone().all(|code| usize::from(*code) < codes.codebook_size));
        let of_splits = Split::ALL.map(|split| codes.images_of(split, true).len());
        assert_eq!(of_splits.iter().sum::<usize>(), codes.n_images());
    }
});
