//! The binary version of CIFAR-10: files of records of one label byte and 3,072 bytes, the red, green and blue planes
//! of 32 x 32 pixels. `test_batch.bin` is the test split.
//!
//! Format: Krizhevsky, <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::path::{Path, PathBuf};

use super::Split;
use super::packed::{
    MAX_PACKED_BYTES, Packed, PackedItem, PackedSet, read_class_names, read_limited,
};
use crate::error::{Error, Result};

/// Height and width.
const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;
const N_TRAIN_FILES: usize = 5;
/// The names in the published `batches.meta.txt`, for a folder without that file.
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The folder in the published archive.
pub(super) const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";

/// The folder that holds the batches: `folder` itself, or that of the published archive in it.
pub(super) fn find(folder: &Path) -> Option<PathBuf> {
    [folder.to_path_buf(), folder.join(ARCHIVE_FOLDER)]
        .into_iter()
        .find(|folder| (1..=N_TRAIN_FILES).any(|i| train_file(folder, i).is_file()))
}

/// Whether a file of this name is one of the training batches.
pub(super) fn is_batch_file(name: &str) -> bool {
    (1..=N_TRAIN_FILES).any(|i| name == format!("data_batch_{i}.bin"))
}

fn train_file(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("data_batch_{i}.bin"))
}

/// Reads those of the five training files and the test file that exist; a missing one is a note.
pub(super) fn read(folder: &Path) -> Result<PackedSet> {
    let named = read_class_names(&folder.join("batches.meta.txt"))?;
    let classes = named.unwrap_or_else(|| CLASSES.map(str::to_string).to_vec());
    let images = Packed { width: SIDE, height: SIDE, channels: 3, pixels: Vec::new() };
    let mut set = PackedSet { images, items: Vec::new(), classes, notes: Vec::new() };
    let stems = (1..=N_TRAIN_FILES).map(|i| format!("data_batch_{i}"));
    for stem in stems.chain(["test_batch".to_string()]) {
        let path = folder.join(format!("{stem}.bin"));
        if path.is_file() {
            read_batch(&path, &stem, &mut set)?;
        } else {
            set.notes.push(format!("{stem}.bin is missing; continuing without it"));
        }
    }
    Ok(set)
}

fn read_batch(path: &Path, stem: &str, set: &mut PackedSet) -> Result<()> {
    let bytes = read_limited(path, MAX_PACKED_BYTES)?;
    if bytes.len() as u64 > MAX_PACKED_BYTES {
        let limit = MAX_PACKED_BYTES >> 20;
        return Err(Error::file(path, format!("is larger than {limit} MiB")));
    }
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let length = bytes.len();
        let message =
            format!("has {length} bytes, not a whole number of {RECORD}-byte records (truncated?)");
        return Err(Error::file(path, message));
    }
    set.images.pixels.reserve(bytes.len());
    for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
        // Every chunk has RECORD bytes: the label and three planes.
        let label = u16::from(record[0]);
        if usize::from(label) >= set.classes.len() {
            let n = set.classes.len();
            let message =
                format!("label {label} of record {i} is out of range: there are {n} classes");
            return Err(Error::file(path, message));
        }
        let (red, rest) = record[1..].split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
            set.images.pixels.extend([red, green, blue]);
        }
        let name = format!("{stem}/{i:05}");
        let published = (stem == "test_batch").then_some(Split::Test);
        set.items.push(PackedItem { name, label, published });
    }
    Ok(())
}
