//! Where the images of a data set come from: tells the kinds apart by what a folder holds, lists the images
//! by sorted relative path with their classes, and decodes one on demand. It does not know which are in which
//! split or whether they are kept in memory.

use std::path::{Path, PathBuf};

use super::decode::{decode, read_bounded};
use super::packed::{Packed, PackedSet};
use super::report::Skip;
use super::split::content_key;
use super::{DataConfig, EMBEDDED_NOTO_EMOJI, Target, cifar, embedded, folder, idx};
use crate::error::{Error, Result};

/// One image that may be read.
pub(super) struct Item {
    /// Relative path, `/` between folders: order and class come from it.
    pub(super) name: String,
    pub(super) label: u16,
    /// Whether the image belongs to a published test split.
    pub(super) published_test: bool,
    origin: Origin,
}

/// An image that was read.
pub(super) struct Decoded {
    /// `[image_size, image_size, channels]`.
    pub(super) pixels: Vec<u8>,
    /// [`content_key`] of what it was decoded from.
    pub(super) content_key: u64,
}

enum Origin {
    File(PathBuf),
    Embedded(&'static [u8]),
    /// Index into [`Source::packed`].
    Packed(usize),
}

/// A listed data set.
pub(super) struct Source {
    pub(super) kind: &'static str,
    pub(super) items: Vec<Item>,
    /// Class names by label. Empty for folders until [`Source::name_classes`].
    pub(super) classes: Vec<String>,
    pub(super) skipped: Vec<Skip>,
    pub(super) notes: Vec<String>,
    /// The raw images that `Origin::Packed` points into; dropped when all are decoded and kept.
    pub(super) packed: Option<Packed>,
}

impl Source {
    /// Lists what `config.path` names. Reads folders, headers and raw data sets, decodes nothing.
    pub(super) fn load(config: &DataConfig) -> Result<Self> {
        if let Some(name) = config.path.strip_prefix("embedded:") {
            if config.path == EMBEDDED_NOTO_EMOJI {
                return Ok(Self::from_embedded(embedded::noto_emoji()));
            }
            let message = format!("no embedded data set is called `{name}` (there is noto-emoji)");
            return Err(Error::invalid(message));
        }
        let root = Path::new(&config.path);
        match std::fs::metadata(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message =
                    format!("does not exist; data.path is a folder or {EMBEDDED_NOTO_EMOJI}");
                return Err(Error::file(root, message));
            }
            Err(error) => return Err(Error::io("read", root, error)),
            Ok(metadata) if !metadata.is_dir() => {
                let message = "is a file; data.path is the folder that holds the images";
                return Err(Error::file(root, message));
            }
            Ok(_) => {}
        }
        if idx::is_present(root) {
            return Ok(Self::from_packed("IDX files", idx::read(root)?));
        }
        if let Some(folder) = cifar::find(root) {
            return Ok(Self::from_packed("CIFAR-10 batches", cifar::read(&folder)?));
        }
        Self::from_folder(root)
    }

    fn from_embedded(files: Vec<(String, &'static [u8])>) -> Self {
        let entries = files.into_iter().map(|(name, bytes)| (name, Origin::Embedded(bytes)));
        Self::from_files("embedded", entries, Vec::new())
    }

    fn from_folder(root: &Path) -> Result<Self> {
        let (found, skipped) = folder::walk(root);
        if found.is_empty() && skipped.is_empty() {
            let extensions = folder::IMAGE_EXTENSIONS.join(", ");
            let message = format!(
                "holds no image: looked in it and its sub-folders for files that end in {extensions}, \
                 for IDX files (train-images-idx3-ubyte[.gz]) and for CIFAR-10 batches (data_batch_1.bin)"
            );
            return Err(Error::file(root, message));
        }
        let entries = found.into_iter().map(|found| (found.name, Origin::File(found.path)));
        Ok(Self::from_files("images in a folder", entries, skipped))
    }

    fn from_files(
        kind: &'static str,
        entries: impl Iterator<Item = (String, Origin)>,
        mut skipped: Vec<Skip>,
    ) -> Self {
        let mut items: Vec<Item> = entries
            .map(|(name, origin)| Item { name, label: 0, published_test: false, origin })
            .collect();
        if items.iter().any(|item| folder::class_of(&item.name).is_some()) {
            items.retain(|item| {
                let keep = folder::class_of(&item.name).is_some();
                if !keep {
                    let reason = "lies beside the class folders, so that its class is not known";
                    skipped.push(Skip::new(&item.name, reason));
                }
                keep
            });
        }
        Self { kind, items, classes: Vec::new(), skipped, notes: Vec::new(), packed: None }
    }

    fn from_packed(kind: &'static str, set: PackedSet) -> Self {
        let items = (set.items.into_iter().enumerate())
            .map(|(i, item)| Item {
                name: item.name,
                label: item.label,
                published_test: item.published_test,
                origin: Origin::Packed(i),
            })
            .collect();
        Self {
            kind,
            items,
            classes: set.classes,
            skipped: Vec::new(),
            notes: set.notes,
            packed: Some(set.images),
        }
    }

    /// Image `item` as `target` wants it, or the reason why not.
    pub(super) fn decode(&self, item: &Item, target: &Target) -> Result<Decoded, String> {
        let of_file = |bytes: &[u8]| {
            Ok(Decoded { pixels: decode(bytes, target)?, content_key: content_key(bytes) })
        };
        match (&item.origin, &self.packed) {
            (Origin::File(path), _) => of_file(&read_bounded(path)?),
            (Origin::Embedded(bytes), _) => of_file(bytes),
            (Origin::Packed(index), Some(packed)) => Ok(Decoded {
                pixels: packed.decode(*index, target)?,
                content_key: content_key(packed.raw(*index)?),
            }),
            (Origin::Packed(_), None) => Err("was dropped from memory".to_string()),
        }
    }

    /// Names the classes of folders after the items that are left, so that a folder in which nothing could
    /// be read is no class. Raw data sets have theirs from the start.
    pub(super) fn name_classes(&mut self) -> Result<()> {
        if self.packed.is_some() {
            return Ok(());
        }
        self.classes = folder::classes_of(self.items.iter().map(|item| item.name.as_str()));
        if self.classes.len() > usize::from(u16::MAX) {
            let n = self.classes.len();
            return Err(Error::invalid(format!("{n} classes; at most {} are allowed", u16::MAX)));
        }
        for item in &mut self.items {
            let class = folder::class_of(&item.name).unwrap_or_default();
            let position = self.classes.binary_search_by(|known| known.as_str().cmp(class));
            // The length was checked above; an image outside folders keeps label 0.
            item.label = position.unwrap_or_default() as u16;
        }
        Ok(())
    }
}
