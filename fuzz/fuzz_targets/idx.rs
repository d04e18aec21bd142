//! Any two files under MNIST's names are a data set or an error. The input is the length of the first, two bytes
//! big-endian, followed by both files.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use vqgen::data::{DataConfig, Dataset};

/// In memory where the system has such a folder (tmpfs): each input is two files.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder for the files")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((length, files)) = bytes.split_first_chunk() else { return };
    let (images, labels) =
        files.split_at(files.len().min(usize::from(u16::from_be_bytes(*length))));
    let folder = FOLDER.path();
    fs::write(folder.join("train-images-idx3-ubyte"), images).expect("the images are written");
    fs::write(folder.join("train-labels-idx1-ubyte"), labels).expect("the labels are written");
    let path = folder.display().to_string();
    let config = DataConfig { path, image_size: 4, channels: 1, ..DataConfig::default() };
    let _ = Dataset::open(&config, false);
});
