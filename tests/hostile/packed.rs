//! IDX files and CIFAR-10 batches. They have no checksums: a flipped bit in a pixel or a label gives another data set,
//! one in a header or a length is an error.

use std::path::Path;

use tempfile::TempDir;
use vqgen::data::{DataConfig, Dataset};
use vqgen::error::Result;

use super::damage::{cuts, flips};

fn open(folder: &Path) -> Result<Dataset> {
    let config = DataConfig {
        path: folder.to_str().unwrap().to_owned(),
        image_size: 4,
        channels: 1,
        ..DataConfig::default()
    };
    Dataset::open(&config, false)
}

/// An IDX file of bytes that count up.
pub(crate) fn idx(dims: &[u32]) -> Vec<u8> {
    let words = std::iter::once(0x0800 + dims.len() as u32).chain(dims.iter().copied());
    let n: u32 = dims.iter().product();
    words.flat_map(u32::to_be_bytes).chain((0..n).map(|i| (i % 10) as u8)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A CIFAR-10 image of class 0.
pub(crate) fn cifar_record() -> Vec<u8> {
    (0..3073u32).map(|i| (i % 10) as u8).collect()
}

/// Three images of 4 x 4 under the names of MNIST.
fn mnist() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("train-images-idx3-ubyte", idx(&[3, 4, 4]));
    write("train-labels-idx1-ubyte", idx(&[3]));
    folder
}

/// Opens the folder with each damaged version of a file and returns how many were accepted; errors name the file.
fn accepted(folder: &Path, name: &str, damaged: impl Iterator<Item = Vec<u8>>) -> usize {
    let path = folder.join(name);
    let opened = damaged.filter(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        match open(folder) {
            Ok(_) => true,
            Err(error) => {
                let error = error.to_string();
                let stem = name.trim_end_matches(".gz");
                assert!(error.contains(stem) || error.contains("out of range"), "{error}");
                false
            }
        }
    });
    opened.count()
}

#[test]
fn idx_files_cut_anywhere_are_refused() {
    for (name, whole) in
        [("train-images-idx3-ubyte", idx(&[3, 4, 4])), ("train-labels-idx1-ubyte", idx(&[3]))]
    {
        let folder = mnist();
        assert_eq!(accepted(folder.path(), name, cuts(&whole)), 0, "{name}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let name = format!("{name}.gz");
        let whole = gzip(&whole);
        assert_eq!(accepted(folder.path(), &name, cuts(&whole)), 0, "{name}");
    }
}

#[test]
fn a_flipped_bit_of_an_idx_header_is_refused_and_one_of_a_pixel_is_another_pixel() {
    let folder = mnist();
    let whole = idx(&[3, 4, 4]);
    let name = "train-images-idx3-ubyte";
    assert_eq!(accepted(folder.path(), name, flips(&whole).take(16 * 8)), 0);
    let pixels = flips(&whole).skip(16 * 8);
    assert_eq!(accepted(folder.path(), name, pixels), 3 * 16 * 8);
}

#[test]
fn a_flipped_bit_of_a_label_is_another_class_or_an_error() {
    let folder = mnist();
    let whole = idx(&[3]);
    let name = "train-labels-idx1-ubyte";
    assert_eq!(accepted(folder.path(), name, flips(&whole).take(8 * 8)), 0);
    let labels = accepted(folder.path(), name, flips(&whole).skip(8 * 8));
    // Labels 0, 1 and 2 with a bit flipped, of which 0 to 9 are classes.
    assert_eq!(labels, 4 + 4 + 3);
}

#[test]
fn a_gzipped_idx_file_with_a_flipped_bit_is_refused_unless_it_unpacks_to_the_same() {
    let folder = mnist();
    let name = "train-images-idx3-ubyte";
    std::fs::remove_file(folder.path().join(name)).unwrap();
    let whole = gzip(&idx(&[3, 4, 4]));
    let accepted = accepted(folder.path(), &format!("{name}.gz"), flips(&whole));
    // The header's flags, time and system say nothing about the data; its checksum covers the rest.
    assert!(accepted <= 7 * 8, "{accepted} of {} bits", whole.len() * 8);
}

#[test]
fn a_cifar_batch_cut_anywhere_but_at_a_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = cifar_record().repeat(2);
    let name = "data_batch_1.bin";
    // Sampled: only the remainder of a length divided by the record size matters.
    let cuts = cuts(&whole).enumerate().filter(|(length, _)| length % 13 == 0 || *length == 3073);
    assert_eq!(accepted(folder.path(), name, cuts.map(|(_, bytes)| bytes)), 1);
}

#[test]
fn a_flipped_bit_of_a_cifar_batch_is_another_pixel_or_a_label_in_range_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let record = cifar_record();
    let name = "data_batch_1.bin";
    // Label 0 with a bit flipped: 1, 2, 4 and 8 are classes, 16 to 128 are not.
    assert_eq!(accepted(folder.path(), name, flips(&record).take(8)), 4);
    let pixels = flips(&record).skip(8).step_by(97);
    let n = (3072 * 8usize).div_ceil(97);
    assert_eq!(accepted(folder.path(), name, pixels), n);
}

#[test]
fn announced_sizes_are_refused_before_anything_of_that_size_is_read() {
    let word = |n: u32| n.to_be_bytes();
    let header = |n, rows, columns| [word(0x0803), word(n), word(rows), word(columns)].concat();
    let (images, gzipped) = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz");
    let even = [header(1 << 14, 64, 64), vec![0; 64 << 20]].concat();
    for (name, bytes, expected) in [
        (images, header(1 << 31, 1, 1), "is truncated: its header declares 2147483648"),
        (images, header(u32::MAX, 28, 28), "more than the 2048 MiB allowed"),
        (images, header(3, 1 << 31, 4), "along axis 1"),
        (gzipped, gzip(&header(1 << 31, 1, 1)), "bytes of gzip; at most"),
        (gzipped, gzip(&even), "bytes of gzip; at most"),
    ] {
        let folder = mnist();
        std::fs::remove_file(folder.path().join(images)).unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
}

#[test]
fn lists_of_class_names_that_cannot_be_are_refused() {
    let many: String = (0..257).map(|i| format!("{i}\n")).collect();
    for (text, expected) in [
        (&b"\xff\xfe"[..], "is not UTF-8"),
        (b" \n\n", "holds no class name"),
        (many.as_bytes(), "holds 257 class names"),
        (&b"x".repeat(2 << 20), "is larger than 1048576 bytes"),
    ] {
        let folder = mnist();
        std::fs::write(folder.path().join("classes.txt"), text).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("classes.txt"), "{error}");
    }
}
