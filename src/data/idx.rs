//! MNIST's IDX files, plain or gzipped, as MNIST and Fashion-MNIST are published: a big-endian header (magic
//! number, counts), then raw bytes. The published test images (`t10k`) are the test split.
//!
//! Format: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".

use std::path::{Path, PathBuf};

use super::Split;
use super::decode::MAX_SIDE;
use super::packed::{
    MAX_PACKED_BYTES, Packed, PackedItem, PackedSet, check_ratio, read_class_names, read_limited,
};
use crate::error::{Error, Result};

/// Unsigned bytes, three dimensions: count, rows, columns.
const IMAGES_MAGIC: u32 = 0x0803;
/// Unsigned bytes, one dimension: count.
const LABELS_MAGIC: u32 = 0x0801;
/// Where class names may stand, one a line; the IDX files hold numbers alone.
const CLASS_FILE: &str = "classes.txt";

/// The file `stem-kind` in `folder`: with a dash or a dot, plain or gzipped, in this order.
fn find(folder: &Path, stem: &str, kind: &str) -> Option<PathBuf> {
    ["-", "."]
        .into_iter()
        .flat_map(|dash| ["", ".gz"].map(|gz| folder.join(format!("{stem}{dash}{kind}{gz}"))))
        .find(|path| path.is_file())
}

/// Whether `folder` holds IDX files under their published names.
pub(super) fn is_present(folder: &Path) -> bool {
    ["train", "t10k"]
        .iter()
        .any(|part| find(folder, &format!("{part}-images"), "idx3-ubyte").is_some())
}

/// Reads both parts; `t10k` may be missing, then the test split comes from the training images.
pub(super) fn read(folder: &Path) -> Result<PackedSet> {
    let train = read_part(folder, "train")?.ok_or_else(|| {
        Error::file(folder, "holds t10k-images-idx3-ubyte but no train-images-idx3-ubyte[.gz]")
    })?;
    let mut set = train;
    match read_part(folder, "t10k")? {
        None => set.notes.push("no t10k files: the test split is taken from train".to_string()),
        Some(test) => {
            let size = |images: &Packed| format!("{} x {}", images.width, images.height);
            let (train_size, test_size) = (size(&set.images), size(&test.images));
            if train_size != test_size {
                let message = format!("train images are {train_size} pixels, t10k {test_size}");
                return Err(Error::file(folder, message));
            }
            set.images.pixels.extend(test.images.pixels);
            set.items.extend(test.items);
        }
    }
    let named = read_class_names(&folder.join(CLASS_FILE))?;
    set.classes = named.unwrap_or_else(|| (0..10).map(|digit| digit.to_string()).collect());
    if let Some(item) = set.items.iter().find(|item| usize::from(item.label) >= set.classes.len()) {
        let (label, name, n) = (item.label, &item.name, set.classes.len());
        let message = format!(
            "label {label} of {name} is out of range: there are {n} classes \
             (write the class names, one a line, to {CLASS_FILE})"
        );
        return Err(Error::file(folder, message));
    }
    Ok(set)
}

/// The images and labels of `train` or `t10k`; `None` if its images are missing.
fn read_part(folder: &Path, part: &str) -> Result<Option<PackedSet>> {
    let Some(image_path) = find(folder, &format!("{part}-images"), "idx3-ubyte") else {
        return Ok(None);
    };
    let label_path = find(folder, &format!("{part}-labels"), "idx1-ubyte").ok_or_else(|| {
        Error::file(&image_path, format!("has no {part}-labels-idx1-ubyte[.gz] beside it"))
    })?;
    let ([n, height, width], pixels) = read_idx::<3>(&image_path, IMAGES_MAGIC)?;
    let ([n_labels], labels) = read_idx::<1>(&label_path, LABELS_MAGIC)?;
    if n_labels != n {
        let images = image_path.display();
        let message = format!("holds {n_labels} labels, but {images} holds {n} images");
        return Err(Error::file(&label_path, message));
    }
    let items = labels
        .iter()
        .enumerate()
        .map(|(i, &label)| PackedItem {
            name: format!("{part}/{i:05}"),
            label: u16::from(label),
            published: (part == "t10k").then_some(Split::Test),
        })
        .collect();
    let images = Packed { width, height, channels: 1, pixels };
    Ok(Some(PackedSet { images, items, classes: Vec::new(), notes: Vec::new() }))
}

/// The dimensions and the bytes of one IDX file. Every number is checked before memory is taken for it.
fn read_idx<const RANK: usize>(path: &Path, magic: u32) -> Result<([usize; RANK], Vec<u8>)> {
    let header_size = 4 * (RANK + 1);
    let header = read_limited(path, header_size as u64 - 1)?;
    if header.len() < header_size {
        let message =
            format!("is truncated: {} bytes, its header alone has {header_size}", header.len());
        return Err(Error::file(path, message));
    }
    let mut words = header
        .chunks_exact(4)
        .map(|word| word.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte)));
    let found = words.next().unwrap_or_default();
    if found != magic {
        let message = format!(
            "is not an IDX file of this kind: it starts with {found:#010x}, expected {magic:#010x}"
        );
        return Err(Error::file(path, message));
    }
    let mut dims = [0usize; RANK];
    let mut total = 1u64;
    for (axis, (dim, word)) in dims.iter_mut().zip(words).enumerate() {
        let limit = if axis == 0 { u32::MAX } else { MAX_SIDE };
        if word == 0 || word > limit {
            let message = format!("announces {word} along axis {axis}; 1 to {limit} are allowed");
            return Err(Error::file(path, message));
        }
        *dim = word as usize;
        // Below 2^32 * 2^14 * 2^14.
        total *= u64::from(word);
    }
    if total > MAX_PACKED_BYTES {
        let limit = MAX_PACKED_BYTES >> 20;
        let message = format!("announces {total} bytes of data, more than the {limit} MiB allowed");
        return Err(Error::file(path, message));
    }
    check_ratio(path, total)?;
    let mut bytes = read_limited(path, header_size as u64 + total)?;
    bytes.drain(..header_size);
    if bytes.len() as u64 != total {
        let (verb, found) = if (bytes.len() as u64) < total {
            ("is truncated", format!("it holds {}", bytes.len()))
        } else {
            ("is too long", "it holds more".to_string())
        };
        let message = format!("{verb}: its header announces {total} bytes of data, {found}");
        return Err(Error::file(path, message));
    }
    Ok((dims, bytes))
}
