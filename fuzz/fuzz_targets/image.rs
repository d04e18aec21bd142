//! Any bytes are an image or an error, and a panic in a decoder is an error of that image alone. The first byte selects
//! the channels and one of a few target sizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vqgen::data::{Target, decode_bytes};

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let image_size = [1, 4, 7, 64][usize::from(choice % 4)];
    let channels = if choice & 4 == 0 { 1 } else { 3 };
    let target = Target { image_size, channels, background: [choice; 3] };
    if let Ok(pixels) = decode_bytes("input", bytes, &target) {
        assert_eq!(pixels.len(), target.n_bytes());
    }
});
