//! Archives and tables. Only some of their bytes are covered by a checksum or a rule: a flipped bit gives an error, a
//! skipped file or other pixels, but never a panic.

use std::path::Path;

use vqgen::data::{DataConfig, Dataset};

use super::damage::{cuts, flips};

/// Every so manieth cut and flip is tried.
const STRIDE: usize = 13;

fn whole(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containers");
    std::fs::read(folder.join(name)).unwrap()
}

/// Opens each damaged version and returns how many were accepted; errors name the file.
fn accepted(name: &str, damaged: impl Iterator<Item = Vec<u8>>) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("container");
    let config = DataConfig {
        path: path.to_str().unwrap().to_owned(),
        image_size: 4,
        ..DataConfig::default()
    };
    let opened = damaged.step_by(STRIDE).filter(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        match Dataset::open(&config, false) {
            Ok(_) => true,
            Err(error) => {
                assert!(error.to_string().contains(path.to_str().unwrap()), "{name}: {error}");
                false
            }
        }
    });
    opened.count()
}

#[test]
fn archives_and_tables_that_end_early_are_refused() {
    for name in ["folder.zip", "hub/data/test-00000-of-00001.parquet", "zstd.parquet"] {
        assert_eq!(accepted(name, cuts(&whole(name))), 0, "{name}");
    }
    // What a tar archive ends with says nothing, and between two files it could end.
    let tar = whole("ustar.tar");
    assert!(accepted("ustar.tar", cuts(&tar)) < tar.len() / STRIDE * 9 / 10);
}

#[test]
fn flipped_bits_in_archives_and_tables_are_never_a_panic() {
    for name in
        ["folder.zip", "hub/data/test-00000-of-00001.parquet", "zstd.parquet", "plain.parquet"]
    {
        accepted(name, flips(&whole(name)));
    }
    let tar = whole("webdataset/unique/set-train-000.tar");
    accepted("webdataset", flips(&tar));
}
