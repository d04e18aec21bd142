//! Where the images of a data set come from: distinguishes the kinds by the contents of a folder, lists the images
//! sorted by relative path with their classes, and decodes one on demand. It does not know which are in which split or
//! whether they are kept in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::arrangement::Place;
use super::decode::{Colours, Header, Square, decode, read_bounded};
use super::folder::Listing;
use super::idx::IdxSet;
use super::packed::{Packed, PackedSet};
use super::report::{Extensions, Skip, counted, listed};
use super::split::content_key;
use super::{
    CaptionSource, DataConfig, EMBEDDED_NOTO_EMOJI, Split, Target, arrangement, captions, cifar,
    embedded, names,
};
use crate::error::{Error, Result};

/// The kinds of raw data sets, as named in reports.
const IDX: &str = "IDX files";
const CIFAR: &str = "CIFAR-10 batches";

/// One image that may be read.
pub(super) struct Item {
    /// Relative path, `/` between folders: determines order and class.
    pub(super) name: String,
    pub(super) label: u16,
    /// The name of its class in a folder; empty where there are none, and in raw data sets.
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
    /// Pictures in unsupported formats, which are not listed.
    pub(super) unread: Extensions,
    pub(super) notes: Vec<String>,
    /// The raw images that `Origin::Packed` indexes; dropped once all are decoded and kept.
    pub(super) packed: Option<Packed>,
}

impl Source {
    /// Lists what `config.path` names. Reads folders, headers and raw data sets, but decodes nothing.
    pub(super) fn load(config: &DataConfig) -> Result<Self> {
        if let Some(name) = config.path.strip_prefix("embedded:") {
            if config.path == EMBEDDED_NOTO_EMOJI {
                return Ok(Self::from_embedded(config.captions));
            }
            let message = format!("no embedded data set is called `{name}` (there is noto-emoji)");
            return Err(Error::invalid(message));
        }
        let root = Path::new(&config.path);
        if let Err(error) = check_folder(root) {
            // One of several sets in its folder.
            return match IdxSet::named(root) {
                Some(set) => Ok(Self::from_packed(IDX, set.read()?)),
                None => Err(error),
            };
        }
        if let Some(source) = Self::from_raw(root)? {
            return source.with_notes_on(root);
        }
        Self::from_folder(root, config.captions)
    }

    /// The raw data set in `folder` itself, if there is one.
    fn from_raw(folder: &Path) -> Result<Option<Self>> {
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
        cifar.map(|folder| Ok(Self::from_packed(CIFAR, cifar::read(&folder)?))).transpose()
    }

    fn from_embedded(captions: CaptionSource) -> Self {
        let images = embedded::noto_emoji(|name| names::is_image_path(Path::new(name)));
        let entries = images.into_iter().map(|(name, bytes)| (name, Origin::Embedded(bytes)));
        let mut source = Self::from_files("embedded", entries.collect());
        let texts: BTreeMap<_, _> = embedded::noto_emoji(captions::may_hold).into_iter().collect();
        let read = |name: &str| Ok(texts[name].to_vec());
        source.take_captions(captions, texts.keys().map(String::as_str), read);
        source
    }

    fn from_folder(root: &Path, captions: CaptionSource) -> Result<Self> {
        let mut listing = Listing::of(root);
        if listing.found.is_empty() {
            if let Some(source) = Self::from_raw_below(root, &listing)? {
                return Ok(source);
            }
            if listing.skipped.is_empty() {
                return Err(Error::file(root, no_image(&listing)));
            }
        }
        let found = std::mem::take(&mut listing.found);
        let entries = found.into_iter().map(|found| (found.name, Origin::File(found.path)));
        let mut source = Self::from_files("images in a folder", entries.collect());
        let used = {
            let texts = listing.texts.iter();
            let files: HashMap<&str, &Path> =
                texts.map(|text| (text.name.as_str(), text.path.as_path())).collect();
            let texts = listing.texts.iter().map(|text| text.name.as_str());
            source.take_captions(captions, texts, |name| read_bounded(files[name]))
        };
        listing.use_texts(&used);
        source.notes.extend(listing.notes());
        source.skipped.extend(listing.skipped);
        source.unread = listing.unread;
        source.notes.extend(raw_left_out(root, &listing.raw));
        Ok(source)
    }

    /// Reads the captions of all items, from those of the files called `texts` that hold some; returns the names of
    /// these files. `read` returns the content of a file, or why it cannot be read.
    fn take_captions<'a>(
        &mut self,
        from: CaptionSource,
        texts: impl Iterator<Item = &'a str>,
        read: impl Fn(&str) -> Result<Vec<u8>, String>,
    ) -> BTreeSet<String> {
        let images: Vec<&str> = self.items.iter().map(|item| item.name.as_str()).collect();
        let found = match from {
            CaptionSource::None => return BTreeSet::new(),
            CaptionSource::Names => captions::of_names(&images),
            CaptionSource::Auto => captions::of_files(&images, texts, read),
        };
        for (item, captions) in self.items.iter_mut().zip(found.by_image) {
            item.captions = captions;
        }
        self.notes.extend(found.notes);
        found.used
    }

    /// The raw data set in the only folder below `root` that holds one, as in `MNIST/raw`.
    fn from_raw_below(root: &Path, listing: &Listing) -> Result<Option<Self>> {
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
    fn with_notes_on(mut self, root: &Path) -> Result<Self> {
        let mut listing = Listing::of(root);
        let n = listing.found.len() + listing.unread.total();
        if n > 0 {
            let images = counted(n, "image file");
            self.notes.push(format!(
                "left out {images}, as the data set is the {} beside (name another folder with --data)",
                self.kind
            ));
        }
        // The set that was read is in `root` itself, or in the folder of CIFAR-10's archive.
        listing.raw.remove(".");
        if self.kind == CIFAR {
            listing.raw.remove(cifar::ARCHIVE_FOLDER);
        }
        self.notes.extend(raw_left_out(root, &listing.raw));
        Ok(self)
    }

    fn from_files(kind: &'static str, entries: Vec<(String, Origin)>) -> Self {
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        let arrangement = arrangement::arrange(&names);
        let mut source = Self { notes: arrangement.notes, ..Self::empty(kind) };
        for ((name, origin), place) in entries.into_iter().zip(arrangement.places) {
            match place {
                Ok(Place { published, class }) => {
                    source.items.push(Item {
                        name,
                        label: 0,
                        class,
                        published,
                        captions: Vec::new(),
                        is_converted: false,
                        origin,
                    });
                }
                Err(reason) => source.skipped.push(Skip::misplaced(name, reason)),
            }
        }
        source
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

    fn from_packed(kind: &'static str, set: PackedSet) -> Self {
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

    /// Image `item` decoded to `target`, or the reason why it cannot be.
    pub(super) fn decode(&self, item: &Item, target: &Target) -> Result<Decoded, String> {
        let of_file = |bytes: &[u8]| {
            let Square { pixels, colours } = decode(bytes, target)?;
            Ok(Decoded { pixels, content_key: content_key(bytes), colours })
        };
        match (&item.origin, &self.packed) {
            (Origin::File(path), _) => of_file(&read_bounded(path)?),
            (Origin::Embedded(bytes), _) => of_file(bytes),
            (Origin::Packed(index), Some(packed)) => Ok(Decoded {
                pixels: packed.decode(*index, target)?,
                content_key: content_key(packed.raw(*index)?),
                colours: Colours::AsStored,
            }),
            (Origin::Packed(_), None) => Err("was dropped from memory".to_string()),
        }
    }

    /// The header of image `item`, or `None` where it cannot be read.
    pub(super) fn header(&self, item: &Item) -> Option<Header> {
        match (&item.origin, &self.packed) {
            (Origin::File(path), _) => Header::of_file(path),
            (Origin::Embedded(bytes), _) => Header::of(Cursor::new(bytes)),
            (Origin::Packed(_), Some(Packed { width, height, channels, .. })) => {
                Some(Header { size: [*width, *height], is_grey: *channels == 1 })
            }
            (Origin::Packed(_), None) => None,
        }
    }

    /// Derives the class names from the remaining items, so that a folder without readable images is not a class. Raw
    /// data sets have theirs from the start.
    pub(super) fn name_classes(&mut self) -> Result<()> {
        if self.packed.is_some() {
            return Ok(());
        }
        let classes: BTreeSet<&str> = self.items.iter().map(|item| item.class.as_str()).collect();
        // Images without a class are so only where there are no classes.
        let classes = classes.into_iter().filter(|class| !class.is_empty());
        self.classes = classes.map(str::to_owned).collect();
        if self.classes.len() > usize::from(u16::MAX) {
            let n = self.classes.len();
            return Err(Error::invalid(format!("{n} classes; at most {} are allowed", u16::MAX)));
        }
        for item in &mut self.items {
            let position = self.classes.binary_search(&item.class);
            // The length was checked above; an image without a class keeps label 0.
            item.label = position.unwrap_or_default() as u16;
        }
        Ok(())
    }
}

/// Refuses what is not a readable folder.
fn check_folder(root: &Path) -> Result<()> {
    match std::fs::metadata(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::file(root, not_there(root)))
        }
        Err(error) => Err(Error::io("read", root, error)),
        Ok(metadata) if !metadata.is_dir() => Err(Error::file(
            root,
            "is a file; data.path is the folder that holds the images (unpack an archive first)",
        )),
        Ok(_) => Ok(()),
    }
}

/// The message for a folder that does not exist.
fn not_there(root: &Path) -> String {
    let what = match std::fs::symlink_metadata(root) {
        Ok(_) => "is a broken link".to_owned(),
        Err(_) => "does not exist".to_owned(),
    };
    let place = match std::path::absolute(root) {
        Ok(path) if root.is_relative() => format!(
            ": looked for {}, as relative paths, also those in recipes, start at the working directory",
            path.display()
        ),
        _ => String::new(),
    };
    format!("{what}{place} (name the folder with --data, or take {EMBEDDED_NOTO_EMOJI})")
}

/// The note on raw data sets other than the one that is read.
fn raw_left_out(root: &Path, folders: &BTreeSet<String>) -> Option<String> {
    let names: Vec<String> =
        folders.iter().map(|folder| root.join(folder).display().to_string()).collect();
    let what = if names.len() == 1 { "a data set" } else { "data sets" };
    (!names.is_empty())
        .then(|| format!("left out {what} that --data can name: {}", listed(&names, ", ")))
}

/// The message for a folder without images.
fn no_image(listing: &Listing) -> String {
    let extensions = names::IMAGE_EXTENSIONS.join(", ");
    let message = format!(
        "holds no image: looked in it and its sub-folders for files that end in {extensions}, \
         for IDX files (train-images-idx3-ubyte[.gz]) and for CIFAR-10 batches (data_batch_1.bin)"
    );
    let instead = listing.instead();
    if instead.is_empty() { message } else { format!("{message}; {instead}") }
}
