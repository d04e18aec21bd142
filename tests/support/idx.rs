//! IDX files as the tests of raw data sets write them.

use std::io::Write;

pub(crate) fn idx(magic: u32, dims: &[u32], body: &[u8]) -> Vec<u8> {
    let words = std::iter::once(&magic).chain(dims);
    words.flat_map(|word| word.to_be_bytes()).chain(body.iter().copied()).collect()
}

pub(crate) fn images(n: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..n).flat_map(|i| (0..16).map(move |p| (i * 5 + p) as u8)).collect();
    idx(0x0803, &[n, 4, 4], &body)
}

pub(crate) fn labels(n: u32) -> Vec<u8> {
    idx(0x0801, &[n], &(0..n).map(|i| (i % 10) as u8).collect::<Vec<u8>>())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
