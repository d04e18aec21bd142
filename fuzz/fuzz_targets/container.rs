//! Any bytes that `data.path` names are an archive, a table, a list of images, or an error.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use vqgen::data::{DataConfig, Dataset};

/// In memory where the system has such a folder (tmpfs): each input is a file.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder for the file")
});

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.path().join("container");
    fs::write(&path, bytes).expect("the file is written");
    let path = path.display().to_string();
    let config = DataConfig { path, image_size: 4, channels: 3, ..DataConfig::default() };
    let _ = Dataset::open(&config, false);
});
