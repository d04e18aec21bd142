//! Data sets in IDX files, plain or gzipped, with the file names of MNIST (also used by Fashion-MNIST and others) and
//! of EMNIST. The published test images are the test split.
//!
//! Format: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".

mod emnist;

mod format;

use std::path::{Path, PathBuf};

use format::{IMAGES_MAGIC, LABELS_MAGIC, read_idx};

use super::Split;
use super::packed::{Packed, PackedItem, PackedSet, read_class_names};
use crate::error::{Error, Result};

/// Optional file of class names for MNIST's files, one per line; the IDX files hold only numbers.
const CLASS_FILE: &str = "classes.txt";

/// The files of one data set, which share a name prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdxSet {
    folder: PathBuf,
    /// Which of EMNIST's sets; `None` for the names of MNIST.
    emnist: Option<&'static str>,
}

impl IdxSet {
    /// Every set with images in `folder`.
    pub(super) fn all_in(folder: &Path) -> Vec<Self> {
        let of = |emnist| Self { folder: folder.to_path_buf(), emnist };
        let all = std::iter::once(None).chain(emnist::SETS.into_iter().map(Some)).map(of);
        all.filter(|set| set.parts().iter().any(|part| set.find(part, "images").is_some()))
            .collect()
    }

    /// The set that `path`, which is not a folder, names: the folder of its files and the name of the set.
    pub(super) fn named(path: &Path) -> Option<Self> {
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            folder => folder?,
        };
        Self::all_in(folder)
            .into_iter()
            .find(|set| path.file_name().is_some_and(|n| n == &*set.name()))
    }

    /// `mnist` or `emnist-letters`.
    pub(super) fn name(&self) -> String {
        self.emnist.map_or("mnist".to_owned(), |set| format!("emnist-{set}"))
    }

    /// Prefixes of the names of training and test images.
    fn parts(&self) -> [&'static str; 2] {
        if self.emnist.is_some() { ["train", "test"] } else { ["train", "t10k"] }
    }

    /// `train-images`, `emnist-letters-train-images`.
    fn stem(&self, part: &str, kind: &str) -> String {
        match self.emnist {
            Some(set) => format!("emnist-{set}-{part}-{kind}"),
            None => format!("{part}-{kind}"),
        }
    }

    /// The `images` or `labels` of a part: with a dash or a dot, plain or gzipped, in this order.
    fn find(&self, part: &str, kind: &str) -> Option<PathBuf> {
        let rank = if kind == "images" { 3 } else { 1 };
        let stem = self.stem(part, kind);
        let names = ["-", "."]
            .into_iter()
            .flat_map(|dash| ["", ".gz"].map(|gz| format!("{stem}{dash}idx{rank}-ubyte{gz}")));
        names.map(|name| self.folder.join(name)).find(|path| path.is_file())
    }

    /// Reads both parts; if the test part is missing, the test split is taken from the training images.
    pub(super) fn read(&self) -> Result<PackedSet> {
        let [train, test] = self.parts();
        let image_name = |part| format!("{}-idx3-ubyte", self.stem(part, "images"));
        let mut set = self.read_part(train, None)?.ok_or_else(|| {
            let (found, missing) = (image_name(test), image_name(train));
            Error::file(&self.folder, format!("holds {found} but no {missing}[.gz]"))
        })?;
        match self.read_part(test, Some(Split::Test))? {
            None => {
                set.notes.push(format!("no {test} files: the test split is taken from train"));
            }
            Some(test_set) => {
                let size = |images: &Packed| format!("{} x {}", images.width, images.height);
                let (train_size, test_size) = (size(&set.images), size(&test_set.images));
                if train_size != test_size {
                    let message =
                        format!("train images are {train_size} pixels, {test} {test_size}");
                    return Err(Error::file(&self.folder, message));
                }
                set.images.pixels.extend(test_set.images.pixels);
                set.items.extend(test_set.items);
            }
        }
        match self.emnist {
            None => self.name_digits(&mut set)?,
            Some(name) => {
                set.images.transpose();
                self.name_characters(&mut set, name)?;
            }
        }
        Ok(set)
    }

    /// The images and labels of a part; `None` if its images are missing.
    fn read_part(&self, part: &str, published: Option<Split>) -> Result<Option<PackedSet>> {
        let Some(image_path) = self.find(part, "images") else {
            return Ok(None);
        };
        let label_path = self.find(part, "labels").ok_or_else(|| {
            let name = self.stem(part, "labels");
            Error::file(&image_path, format!("has no {name}-idx1-ubyte[.gz] beside it"))
        })?;
        let ([n, height, width], pixels) = read_idx::<3>(&image_path, IMAGES_MAGIC)?;
        let ([n_labels], labels) = read_idx::<1>(&label_path, LABELS_MAGIC)?;
        if n_labels != n {
            let images = image_path.display();
            let message = format!("holds {n_labels} labels, but {images} holds {n} images");
            return Err(Error::file(&label_path, message));
        }
        let items = labels.iter().enumerate().map(|(i, &label)| PackedItem {
            name: format!("{part}/{i:05}"),
            label: u16::from(label),
            published,
        });
        let items = items.collect();
        let images = Packed { width, height, channels: 1, pixels };
        Ok(Some(PackedSet { images, items, classes: Vec::new(), notes: Vec::new() }))
    }

    /// The classes of MNIST's files: ten digits, or those of [`CLASS_FILE`].
    fn name_digits(&self, set: &mut PackedSet) -> Result<()> {
        let named = read_class_names(&self.folder.join(CLASS_FILE))?;
        set.classes = named.unwrap_or_else(|| (0..10).map(|digit| digit.to_string()).collect());
        let n = set.classes.len();
        match set.items.iter().find(|item| usize::from(item.label) >= n) {
            None => Ok(()),
            Some(PackedItem { label, name, .. }) => Err(Error::file(
                &self.folder,
                format!(
                    "label {label} of {name} is out of range: there are {n} classes \
                     (write the class names, one per line, to {CLASS_FILE})"
                ),
            )),
        }
    }

    /// The classes of an EMNIST set; labels become indices into their list.
    fn name_characters(&self, set: &mut PackedSet, name: &str) -> Result<()> {
        let classes = emnist::classes(&self.folder, name)?;
        for item in &mut set.items {
            let class = classes.iter().position(|class| u16::from(class.label) == item.label);
            let Some(class) = class else {
                let (label, name) = (item.label, &item.name);
                let labels = classes.first().zip(classes.last());
                let labels = labels.map_or(String::new(), |(first, last)| {
                    format!(", they are {} to {}", first.label, last.label)
                });
                let message = format!(
                    "label {label} of {name} is out of range: there are {} classes{labels}",
                    classes.len()
                );
                return Err(Error::file(&self.folder, message));
            };
            // At most 256 classes.
            item.label = class as u16;
        }
        set.classes = classes.into_iter().map(|class| class.name).collect();
        Ok(())
    }
}

/// Whether a file of this name holds images of a set.
pub(super) fn is_image_file(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = name.strip_suffix("idx3-ubyte").and_then(|stem| stem.strip_suffix(['-', '.']));
    let Some(part) = stem.and_then(|stem| stem.strip_suffix("-images")) else { return false };
    let emnist =
        || emnist::SETS.iter().find_map(|set| part.strip_prefix("emnist-")?.strip_prefix(set));
    ["train", "t10k"].contains(&part)
        || emnist().is_some_and(|part| ["-train", "-test"].contains(&part))
}
