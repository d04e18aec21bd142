//! Where the images of a data set come from: distinguishes the kinds by what `data.path` names, lists the images sorted by
//! relative path with their classes, and decodes one on demand. It does not know which are in which split or whether they
//! are kept in memory.

mod entries;
mod files;
mod kind;
mod raw;
mod tables;

use std::collections::BTreeSet;

use super::content::Content;
use super::decode::{Colours, Header, Square, decode};
use super::packed::Packed;
use super::report::{Extensions, Skip};
use super::split::content_key;
use super::{DataConfig, Split, Target};
use crate::error::{Error, Result};
use kind::Named;

/// One image that may be read.
pub(super) struct Item {
    /// Relative path, `/` between folders: determines order and class.
    pub(super) name: String,
    pub(super) label: u16,
    /// The name of its class in a folder; empty where there are none, and where classes are written elsewhere.
    class: String,
    /// The split in which it was published, validation or test.
    pub(super) published: Option<Split>,
    /// What is written of it.
    pub(super) captions: Vec<String>,
    /// Whether its colours were converted to sRGB; known after decoding.
    pub(super) is_converted: bool,
    origin: Origin,
}

/// A decoded image.
pub(super) struct Decoded {
    /// `[image_size, image_size, channels]`.
    pub(super) pixels: Vec<u8>,
    /// [`content_key`] of what it was decoded from.
    pub(super) content_key: u64,
    /// How its colours were handled.
    pub(super) colours: Colours,
}

enum Origin {
    File(Content),
    /// Index into [`Source::packed`].
    Packed(usize),
}

/// A listed data set.
pub(super) struct Source {
    pub(super) kind: &'static str,
    pub(super) items: Vec<Item>,
    /// Class names by label. Where folders are classes, empty until [`Source::name_classes`].
    pub(super) classes: Vec<String>,
    pub(super) skipped: Vec<Skip>,
    /// Pictures in unsupported formats, which are not listed.
    pub(super) unread: Extensions,
    pub(super) notes: Vec<String>,
    /// The raw images that `Origin::Packed` indexes; dropped once all are decoded and kept.
    pub(super) packed: Option<Packed>,
}

impl Source {
    /// Lists what `config.path` names. Reads folders, archives, headers, what is written of the images, and raw data sets,
    /// but decodes nothing.
    pub(super) fn load(config: &DataConfig) -> Result<Self> {
        match Named::of(&config.path)? {
            Named::Embedded => Ok(Self::from_embedded(config)),
            Named::RawSet(set) => Ok(Self::from_packed(raw::IDX, set.read()?)),
            Named::Folder(root) => Self::from_any_folder(&root, config),
            Named::Archives(files) => Self::from_archives(files, config),
            Named::Tables(files) => Self::from_tables(files, config),
            Named::List(file) => Self::from_list(&file, config),
        }
    }

    fn empty(kind: &'static str) -> Self {
        Self {
            kind,
            items: Vec::new(),
            classes: Vec::new(),
            skipped: Vec::new(),
            unread: Extensions::default(),
            notes: Vec::new(),
            packed: None,
        }
    }

    /// Image `item` decoded to `target`, or the reason why it cannot be.
    pub(super) fn decode(&self, item: &Item, target: &Target) -> Result<Decoded, String> {
        match (&item.origin, &self.packed) {
            (Origin::File(content), _) => {
                let bytes = content.read()?;
                let Square { pixels, colours } = decode(&bytes, target)?;
                Ok(Decoded { pixels, content_key: content_key(&bytes), colours })
            }
            (Origin::Packed(index), Some(packed)) => Ok(Decoded {
                pixels: packed.decode(*index, target)?,
                content_key: content_key(packed.raw(*index)?),
                colours: Colours::AsStored,
            }),
            (Origin::Packed(_), None) => Err("was dropped from memory".to_string()),
        }
    }

    /// The indices of all items in an order in which they are quickly read.
    pub(super) fn reading_order(&self) -> Vec<usize> {
        let place = |index: &usize| match &self.items[*index].origin {
            Origin::File(content) => content.place(),
            Origin::Packed(_) => (0, 0),
        };
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        // Stable: files stay in the order of their names.
        order.sort_by_key(place);
        order
    }

    /// The header of image `item`, or `None` where it cannot be read.
    pub(super) fn header(&self, item: &Item) -> Option<Header> {
        match (&item.origin, &self.packed) {
            (Origin::File(content), _) => content.header(),
            (Origin::Packed(_), Some(Packed { width, height, channels, .. })) => {
                Some(Header { size: [*width, *height], is_grey: *channels == 1 })
            }
            (Origin::Packed(_), None) => None,
        }
    }

    /// Derives the class names from the remaining items, so that a folder without readable images is not a class. Where
    /// classes are written elsewhere, they are known from the start.
    pub(super) fn name_classes(&mut self) -> Result<()> {
        if self.classes.is_empty() {
            let classes: BTreeSet<&str> =
                self.items.iter().map(|item| item.class.as_str()).collect();
            // Images without a class are so only where there are no classes.
            let classes = classes.into_iter().filter(|class| !class.is_empty());
            self.classes = classes.map(str::to_owned).collect();
            for item in &mut self.items {
                let position = self.classes.binary_search(&item.class);
                // The length is checked below; an image without a class keeps label 0.
                item.label = position.unwrap_or_default() as u16;
            }
        }
        if self.classes.len() > usize::from(u16::MAX) {
            let n = self.classes.len();
            return Err(Error::invalid(format!("{n} classes; at most {} are allowed", u16::MAX)));
        }
        Ok(())
    }
}
