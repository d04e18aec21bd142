//! Raw data sets: many images of one size in few files.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Item, Origin, Source};
use crate::data::cifar;
use crate::data::folder::Listing;
use crate::data::idx::IdxSet;
use crate::data::packed::PackedSet;
use crate::data::report::{counted, listed};
use crate::error::{Error, Result};

/// One kind of raw data sets, as named in reports.
pub(super) const IDX: &str = "IDX files";

impl Source {
    /// The raw data set in `folder` itself, if there is one.
    pub(super) fn from_raw(folder: &Path) -> Result<Option<Self>> {
        match IdxSet::all_in(folder).as_slice() {
            [] => {}
            [set] => return Ok(Some(Self::from_packed(IDX, set.read()?))),
            sets => {
                let names: Vec<String> = sets
                    .iter()
                    .map(|set| format!("--data {}", folder.join(set.name()).display()))
                    .collect();
                let message = format!(
                    "holds {} data sets of IDX files; choose one: {}",
                    sets.len(),
                    listed(&names, ", ")
                );
                return Err(Error::file(folder, message));
            }
        }
        let cifar = cifar::find(folder);
        cifar
            .map(|(format, folder)| Ok(Self::from_packed(format.kind, format.read(&folder)?)))
            .transpose()
    }

    /// The raw data set in the only folder below `root` that holds one, as in `MNIST/raw`.
    pub(super) fn from_raw_below(root: &Path, listing: &Listing) -> Result<Option<Self>> {
        let folders: Vec<&String> = listing.raw.iter().collect();
        match folders.as_slice() {
            [] => Ok(None),
            [folder] => {
                let mut source = Self::from_raw(&root.join(folder))?;
                if let Some(source) = &mut source {
                    source.notes.push(format!("found in {folder}/"));
                }
                Ok(source)
            }
            folders => {
                let names: Vec<String> = folders
                    .iter()
                    .map(|folder| format!("--data {}", root.join(folder).display()))
                    .collect();
                let message = format!(
                    "holds {} data sets in folders below it; choose one: {}",
                    folders.len(),
                    listed(&names, ", ")
                );
                Err(Error::file(root, message))
            }
        }
    }

    /// Adds notes on what else is in the folder `root` of a raw data set.
    pub(super) fn with_notes_on(mut self, root: &Path) -> Result<Self> {
        let mut listing = Listing::of(root);
        let n = listing.found.len() + listing.unread.total();
        if n > 0 {
            let images = counted(n, "image file");
            self.notes.push(format!(
                "left out {images}, as the data set is the {} beside (name another folder with --data)",
                self.kind
            ));
        }
        // The set that was read is in `root` itself, or in the folder of CIFAR's archive.
        listing.raw.remove(".");
        if let Some((format, _)) = cifar::find(root).filter(|(format, _)| format.kind == self.kind)
        {
            listing.raw.remove(format.archive_folder);
        }
        self.notes.extend(left_out(root, &listing.raw));
        Ok(self)
    }

    pub(super) fn from_packed(kind: &'static str, set: PackedSet) -> Self {
        let items = (set.items.into_iter().enumerate())
            .map(|(i, item)| Item {
                name: item.name,
                label: item.label,
                class: String::new(),
                published: item.published,
                captions: Vec::new(),
                is_converted: false,
                origin: Origin::Packed(i),
            })
            .collect();
        Self {
            items,
            classes: set.classes,
            notes: set.notes,
            packed: Some(set.images),
            ..Self::empty(kind)
        }
    }
}

/// The note on raw data sets other than the one that is read.
pub(super) fn left_out(root: &Path, folders: &BTreeSet<String>) -> Option<String> {
    let names: Vec<String> =
        folders.iter().map(|folder| root.join(folder).display().to_string()).collect();
    let what = if names.len() == 1 { "a data set" } else { "data sets" };
    (!names.is_empty())
        .then(|| format!("left out {what} that --data can name: {}", listed(&names, ", ")))
}
