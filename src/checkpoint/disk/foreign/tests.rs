//! Files of `torch.save`, made by hand, whole and damaged.

use super::*;
use crate::checkpoint::{Kind, ModelFile};

/// A pickle of two float tensors, `w` of 2 x 3 and its transpose `t`, a counter `n`, and settings.
fn program(legacy: bool) -> Vec<u8> {
    let mut bytes = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(".to_vec();
    let tail: &[u8] = if legacy { b"Nt" } else { b"t" };
    for (name, kind, key, count, extents) in [
        (b"w", &b"Float"[..], b"0", 6, &b"K\x02K\x03\x86K\x03K\x01\x86"[..]),
        (b"t", b"Float", b"1", 6, b"K\x03K\x02\x86K\x01K\x03\x86"),
        (b"n", b"Long", b"2", 1, b"))"),
    ] {
        let parts: [&[u8]; 12] = [
            b"X\x01\0\0\0",
            name,
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
            kind,
            b"Storage\nX\x01\0\0\0",
            key,
            b"X\x03\0\0\0cpuK",
            &[count],
            tail,
            b"QK\0",
            extents,
            b"\x89h\0)RtR",
        ];
        bytes.extend(parts.concat());
    }
    // The versions of the layers, as `state_dict` adds them.
    bytes.extend(b"u}X\x09\0\0\0_metadataK\x01sb.");
    bytes
}

fn numbers(from: u8) -> Vec<u8> {
    (from..from + 6).flat_map(|n| f32::from(n).to_le_bytes()).collect()
}

/// A zip archive as `torch.save` writes it, without checksums where `crc` is false.
fn archive(crc: bool) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let entries = [
        ("m/data.pkl", program(false)),
        ("m/byteorder", b"little".to_vec()),
        ("m/data/0", numbers(0)),
        ("m/data/1", numbers(10)),
        ("m/data/2", 7u64.to_le_bytes().to_vec()),
    ];
    for (name, content) in &entries {
        let mut sum = flate2::Crc::new();
        sum.update(content);
        let sum = if crc { sum.sum() } else { 0 }.to_le_bytes();
        let size = (content.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        let offset = (bytes.len() as u32).to_le_bytes();
        let local: [&[u8]; 5] =
            [b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0", &[0; 12], &name_len, &[3, 0], name.as_bytes()];
        bytes.extend(local.concat());
        bytes.extend([0; 3]); // an extra field aligns the numbers
        bytes.extend(content);
        let entry: [&[u8]; 8] = [
            b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0",
            &sum,
            &size,
            &size,
            &name_len,
            &[0; 12],
            &offset,
            name.as_bytes(),
        ];
        directory.extend(entry.concat());
    }
    let (offset, size) =
        ((bytes.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    bytes.extend(directory);
    bytes.extend([&b"PK\x05\x06\0\0\0\0\x05\0\x05\0"[..], &size, &offset, &[0, 0]].concat());
    bytes
}

/// A file in the format before 2020.
fn legacy() -> Vec<u8> {
    let mut bytes = [b"\x80\x02", LEGACY_MAGIC, b"\x80\x02M\xe9\x03."].concat();
    bytes.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    bytes.extend(program(true));
    bytes.extend(b"\x80\x02](X\x01\0\0\x001X\x01\0\0\x000X\x01\0\0\x002e.");
    for (count, content) in [(6u64, numbers(10)), (6, numbers(0)), (1, 7u64.to_le_bytes().to_vec())]
    {
        bytes.extend(count.to_le_bytes());
        bytes.extend(content);
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<NamedTensor>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    std::fs::write(&path, bytes).unwrap();
    read_foreign(&path)
}

fn fault(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn both_formats_give_the_float_tensors_in_row_major_order() {
    for bytes in [archive(true), archive(false), legacy()] {
        let tensors = read(&bytes).unwrap();
        let [t, w] = tensors.as_slice() else { panic!("{tensors:?}") };
        assert_eq!((w.name.as_str(), w.shape.as_slice()), ("w", &[2, 3][..]));
        assert_eq!(w.data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((t.name.as_str(), t.shape.as_slice()), ("t", &[3, 2][..]));
        assert_eq!(t.data, [10.0, 13.0, 11.0, 14.0, 12.0, 15.0]);
    }
}

#[test]
fn halves_become_floats() {
    let mut bytes = legacy();
    for _ in 0..2 {
        let at = bytes.windows(12).position(|window| window == b"FloatStorage").unwrap();
        bytes.splice(at..at + 5, *b"Half");
    }
    let numbers = bytes.len() - 2 * (8 + 24) - 16;
    bytes.truncate(numbers);
    for from in [10u16, 0] {
        bytes.extend(6u64.to_le_bytes());
        bytes.extend((from..from + 6).flat_map(|n| f16::from_f32(f32::from(n)).to_le_bytes()));
    }
    bytes.extend([1, 7].map(u64::to_le_bytes).concat());
    let tensors = read(&bytes).unwrap();
    assert_eq!(tensors[1].data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(tensors[0].data, [10.0, 13.0, 11.0, 14.0, 12.0, 15.0]);
}

#[test]
fn what_an_optimizer_keeps_beside_the_model_is_passed_over() {
    // torch.save({"state_dict": …, "optimizer": …, "epoch": 3}, …, _use_new_zipfile_serialization=False) of a
    // torch.nn.Linear(3, 2) after a step of Adam.
    let tensors = read(include_bytes!("with_optimizer.pth")).unwrap();
    let found: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    assert_eq!(found, [("bias", &[2][..]), ("weight", &[2, 3])]);
}

#[test]
fn brain_floats_become_floats() {
    // The upper halves of 32-bit floats: 1, -2.5.
    let numbers: Vec<u8> = [0x3f80u16, 0xc020].iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let header = br#"{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}} "#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &numbers].concat();
    let tensors = read(&bytes).unwrap();
    assert_eq!(tensors[0].data, [1.0, -2.5]);
}

#[test]
fn unwanted_tensors_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let mut bytes = archive(true);
    // Damage to the numbers of `t`.
    let at = bytes.windows(4).position(|window| window == 15f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read_wanted(&path, &|name| name == "w").unwrap().len(), 1);
    assert!(read_foreign(&path).unwrap_err().to_string().contains("storage 1 of t is damaged"));
}

#[test]
fn safetensors_are_read_by_the_same_function() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensor = NamedTensor::new("w", vec![2], vec![1.0, 2.0]).unwrap();
    ModelFile::new(Kind::Tokenizer, &(), vec![tensor.clone()]).unwrap().save(&path).unwrap();
    assert_eq!(read_foreign(&path).unwrap(), [tensor]);
}

#[test]
fn every_cut_of_a_file_is_an_error_that_names_it() {
    for whole in [archive(true), legacy()] {
        for length in 0..whole.len() {
            assert!(fault(&whole[..length]).contains("w.pth"), "{length}");
        }
    }
}

#[test]
fn every_changed_byte_is_an_error_or_another_file() {
    for whole in [archive(true), legacy()] {
        for at in 0..whole.len() {
            for change in [1, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                if let Err(error) = read(&changed) {
                    assert!(error.to_string().contains("w.pth"), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_changed_number_of_an_archive_is_noticed() {
    let whole = archive(true);
    let at = whole.windows(4).position(|window| window == 3f32.to_le_bytes()).unwrap();
    let mut changed = whole;
    changed[at] ^= 1;
    assert!(fault(&changed).contains("storage 0 of w is damaged: its checksum"));
}

#[test]
fn lies_about_sizes_are_refused_before_memory_is_taken() {
    let view = |shape: &[usize], strides: &[usize], offset| View {
        storage: Storage { key: "0".to_owned(), kind: "FloatStorage".to_owned(), len: 6 },
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    };
    let numbers = [0.0; 6];
    for lie in [
        view(&[1 << 40], &[0], 0),
        view(&[1 << 33, 1 << 33], &[0, 0], 0),
        view(&[6], &[2], 0),
        view(&[6], &[1], 1),
        view(&[2], &[usize::MAX], 0),
        view(&[2, 3], &[3], 0),
        view(&[1], &[1], usize::MAX),
    ] {
        assert_eq!(gather(&lie, &numbers), None, "{lie:?}");
    }
    assert_eq!(gather(&view(&[], &[], 3), &numbers).unwrap().len(), 1);
    assert_eq!(gather(&view(&[0, 2], &[2, 1], 0), &numbers).unwrap().len(), 0);

    let replaced = |from: &[u8], to: &[u8]| {
        let mut bytes = legacy();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes.splice(at..at + from.len(), to.iter().copied());
        fault(&bytes)
    };
    // 2^63 - 1 numbers, and a count that differs from that of the pickle.
    let huge = replaced(b"cpuK\x06", b"cpu\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f");
    assert!(huge.contains("it declares 9223372036854775807 numbers"), "{huge}");
    let other = replaced(b"cpuK\x06", b"cpuK\x05");
    assert!(other.contains("storage 0 holds 6 numbers, its tensors expect 5"), "{other}");
    assert!(replaced(b"FloatStorage", b"QIntxStorage").contains("the unknown type QIntxStorage"));
    assert!(replaced(b"little_endian\x88", b"little_endian\x89").contains("big-endian"));
}

#[test]
fn tensors_that_share_their_numbers_without_end_are_refused() {
    let tied = |names: &[u8]| {
        let mut bytes = [b"\x80\x02", LEGACY_MAGIC, b"\x80\x02M\xe9\x03.\x80\x02}."].concat();
        bytes.extend(b"\x80\x02}(");
        for name in names {
            bytes.extend([b"X\x01\0\0\0", &[*name][..]].concat());
            bytes.extend(
                b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n",
            );
            bytes.extend(
                b"X\x01\0\0\x000X\x03\0\0\0cpuM\x10\x27NtQK\0M\x10\x27\x85K\x01\x85\x89)tR",
            );
        }
        bytes.extend(b"u.\x80\x02](X\x01\0\0\x000e.");
        bytes.extend(10_000u64.to_le_bytes());
        bytes.extend([0; 40_000]);
        read(&bytes)
    };
    assert_eq!(tied(b"abc").unwrap().len(), 3);
    let error = tied(b"abcdef").unwrap_err().to_string();
    assert!(error.contains("share their numbers more than 4 times over"), "{error}");
}

#[test]
fn what_is_not_a_dictionary_of_tensors_is_named() {
    let mut compressed = archive(true);
    let at = compressed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    compressed[at + 10] = 8;
    assert!(fault(&compressed).contains("its entry m/data.pkl is compressed"));
    let mut unknown = archive(true);
    let at = unknown.windows(8).position(|window| window == b"data.pkl").unwrap();
    for at in [at, unknown.windows(8).rposition(|window| window == b"data.pkl").unwrap()] {
        unknown[at] = b'D';
    }
    assert!(fault(&unknown).contains("without data.pkl"));
    assert!(fault(b"hello").contains("is not a complete safetensors file"));
}
