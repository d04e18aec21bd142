//! The binary versions of CIFAR-10 and CIFAR-100: files of records of one label byte (CIFAR-100: two, the coarse and the
//! fine class, of which the fine one counts) and 3,072 bytes, the red, green and blue planes of 32 x 32 pixels. One file is
//! the test split.
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

/// One of the two sets.
pub(super) struct Format {
    /// As named in reports.
    pub(super) kind: &'static str,
    /// The folder in the published archive.
    pub(super) archive_folder: &'static str,
    /// Names of the files of training images without `.bin`.
    train: &'static [&'static str],
    /// The same of the file of test images.
    test: &'static str,
    /// The file by which a folder is known, where training files do: their names are anyone's in CIFAR-100.
    marker: Option<&'static str>,
    /// The file of class names.
    names: &'static str,
    /// The class names without that file.
    classes: &'static [&'static str],
    /// Label bytes; the last one counts.
    labels: usize,
}

const CIFAR_10: Format = Format {
    kind: "CIFAR-10 batches",
    archive_folder: "cifar-10-batches-bin",
    train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    marker: None,
    names: "batches.meta.txt",
    classes: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    labels: 1,
};

const CIFAR_100: Format = Format {
    kind: "CIFAR-100 batches",
    archive_folder: "cifar-100-binary",
    train: &["train"],
    test: "test",
    marker: Some("fine_label_names.txt"),
    names: "fine_label_names.txt",
    classes: &[],
    labels: 2,
};

/// The set whose batches are in `folder` itself, or in that of its published archive in it, and which folder that is.
pub(super) fn find(folder: &Path) -> Option<(&'static Format, PathBuf)> {
    [&CIFAR_10, &CIFAR_100].into_iter().find_map(|format| {
        let folders = [folder.to_path_buf(), folder.join(format.archive_folder)];
        folders.into_iter().find(|folder| format.is_in(folder)).map(|folder| (format, folder))
    })
}

/// Whether a file of this name tells that its folder holds such a set.
pub(super) fn is_batch_file(name: &str) -> bool {
    Some(name) == CIFAR_100.marker
        || CIFAR_10.train.iter().any(|stem| name.strip_suffix(".bin") == Some(stem))
}

fn file(folder: &Path, stem: &str) -> PathBuf {
    folder.join(format!("{stem}.bin"))
}

impl Format {
    fn is_in(&self, folder: &Path) -> bool {
        self.train.iter().any(|stem| file(folder, stem).is_file())
            && self.marker.is_none_or(|marker| folder.join(marker).is_file())
    }

    /// Reads those of the files of training and test images that exist; a missing one is a note.
    pub(super) fn read(&self, folder: &Path) -> Result<PackedSet> {
        let named = read_class_names(&folder.join(self.names))?;
        let classes =
            named.unwrap_or_else(|| self.classes.iter().map(ToString::to_string).collect());
        let images = Packed { width: SIDE, height: SIDE, channels: 3, pixels: Vec::new() };
        let mut set = PackedSet { images, items: Vec::new(), classes, notes: Vec::new() };
        for stem in self.train.iter().chain([&self.test]) {
            let path = file(folder, stem);
            if path.is_file() {
                self.read_batch(&path, stem, &mut set)?;
            } else {
                set.notes.push(format!("{stem}.bin is missing; continuing without it"));
            }
        }
        Ok(set)
    }

    fn read_batch(&self, path: &Path, stem: &str, set: &mut PackedSet) -> Result<()> {
        let bytes = read_limited(path, MAX_PACKED_BYTES)?;
        if bytes.len() as u64 > MAX_PACKED_BYTES {
            let limit = MAX_PACKED_BYTES >> 20;
            return Err(Error::file(path, format!("is larger than {limit} MiB")));
        }
        let record = self.labels + 3 * PLANE;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let length = bytes.len();
            let message = format!(
                "has {length} bytes, not a whole number of {record}-byte records (truncated?)"
            );
            return Err(Error::file(path, message));
        }
        set.images.pixels.reserve(bytes.len());
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            // Every chunk has a record's bytes: the labels and three planes.
            let label = u16::from(record[self.labels - 1]);
            if usize::from(label) >= set.classes.len() {
                let n = set.classes.len();
                let message =
                    format!("label {label} of record {i} is out of range: there are {n} classes");
                return Err(Error::file(path, message));
            }
            let (red, rest) = record[self.labels..].split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
                set.images.pixels.extend([red, green, blue]);
            }
            let name = format!("{stem}/{i:05}");
            let published = (stem == self.test).then_some(Split::Test);
            set.items.push(PackedItem { name, label, published });
        }
        Ok(())
    }
}
