//! Files that are whole, damaged, and of another format.

use std::fs;

use safetensors::SafeTensors;

use super::super::digest::Values;
use super::*;

fn write_sample(path: &Path) {
    let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".into(), "é\"".into())]);
    let entries = vec![
        Entry { name: "small", shape: &[3], values: Values::U8(&[1, 2, 3]) },
        Entry { name: "weights", shape: &[2, 1], values: Values::F32(&[0.5, -1.0]) },
        Entry { name: "ids", shape: &[2], values: Values::U16(&[7, 65_535]) },
    ];
    write(path, "test.1", metadata, entries).unwrap();
}

fn sample() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    write_sample(&path);
    (folder, path)
}

#[test]
fn what_was_written_is_read_back() {
    let (_folder, path) = sample();
    let container = Container::read(&path, "test.1").unwrap();
    assert_eq!(container.metadata("a").unwrap(), "é\"");
    assert_eq!(container.number("b").unwrap(), 2);
    assert_eq!(container.u8("small").unwrap(), (vec![3], vec![1, 2, 3]));
    assert_eq!(container.u16("ids").unwrap(), (vec![2], vec![7, 65_535]));
    assert_eq!(container.float("weights").unwrap().data, [0.5, -1.0]);
    assert!(container.expect_only(&["small", "weights"]).is_err());
    assert!(container.u16("small").is_err());
    assert!(container.number("a").is_err());
}

#[test]
fn the_same_content_gives_the_same_bytes_and_the_safetensors_crate_reads_them() {
    let (_folder, path) = sample();
    let bytes = fs::read(&path).unwrap();
    write_sample(&path);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(parsed.tensor("ids").unwrap().data(), [7, 0, 255, 255]);
    let (header_len, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_len % writer::ALIGNMENT, 0);
    assert_eq!(header.offset_keys(), ["weights", "ids", "small"]);
}

#[test]
fn a_file_cut_anywhere_is_an_error_that_names_it() {
    let (_folder, path) = sample();
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = Container::read(&path, "test.1").unwrap_err().to_string();
        assert!(error.contains("a.safetensors"), "{error}");
    }
}

#[test]
fn any_flipped_bit_is_an_error() {
    let (_folder, path) = sample();
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        assert!(Container::read(&path, "test.1").is_err(), "bit {at} went unnoticed");
    }
}

#[test]
fn a_flipped_value_is_reported_as_damage_with_both_checksums() {
    let (_folder, path) = sample();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Container::read(&path, "test.1").unwrap_err().to_string();
    assert!(error.contains("is damaged: the checksum of its content is"), "{error}");
}

#[test]
fn trailing_bytes_are_refused() {
    let (_folder, path) = sample();
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    assert!(Container::read(&path, "test.1").is_err());
}

#[test]
fn a_header_that_claims_more_than_the_file_holds_is_refused() {
    let (_folder, path) = sample();
    for claimed in [u64::MAX, 1 << 40, 100_000_001, 4_000] {
        let mut bytes = fs::read(&path).unwrap();
        bytes[..8].copy_from_slice(&claimed.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        assert!(Container::read(&path, "test.1").is_err());
    }
    let header = br#"{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    fs::write(&path, &bytes).unwrap();
    assert!(read_floats(&path, &|_| true).is_err());
}

#[test]
fn another_format_and_none_at_all_are_named() {
    let (_folder, path) = sample();
    let error = Container::read(&path, "test.2").unwrap_err().to_string();
    assert!(error.ends_with("has format test.1, expected test.2"), "{error}");
    fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    let error = Container::read(&path, "test.1").unwrap_err().to_string();
    assert!(error.contains("names no format, expected test.1"), "{error}");
}

#[test]
fn foreign_files_give_their_float_tensors() {
    let (_folder, path) = sample();
    let tensors = read_floats(&path, &|_| true).unwrap();
    assert_eq!(tensors.len(), 1);
    assert_eq!((tensors[0].name.as_str(), &tensors[0].shape[..]), ("weights", &[2, 1][..]));
}

#[test]
fn contradictory_entries_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let entry = Entry { name: "x", shape: &[2], values: Values::U8(&[1]) };
    assert!(write(&path, "test.1", BTreeMap::new(), vec![entry]).is_err());
    let entry = Entry { name: "x", shape: &[1], values: Values::U8(&[1]) };
    assert!(write(&path, "test.1", BTreeMap::new(), vec![entry, entry]).is_err());
    assert!(!path.exists());
}
