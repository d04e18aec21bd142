//! Images that are files of their own: in the binary, in a folder, inside archives, or listed in a text file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Source;
use super::entries::{Entry, Texts};
use crate::data::archive::{self, ArchiveKind, Member, Members};
use crate::data::content::Content;
use crate::data::folder::{Found, Listing};
use crate::data::report::{Skip, listed};
use crate::data::shards::Shard;
use crate::data::{DataConfig, Split, captions, embedded, list, names, table};
use crate::error::{Error, Result};

impl Source {
    pub(super) fn from_embedded(config: &DataConfig) -> Self {
        let images = embedded::noto_emoji(|name| names::is_image_path(Path::new(name)));
        let entries = images
            .into_iter()
            .map(|(name, bytes)| Entry::of(Found { name, content: Content::Embedded(bytes) }));
        let texts: BTreeMap<_, _> = embedded::noto_emoji(captions::may_hold).into_iter().collect();
        let read = |name: &str| Ok(texts[name].to_vec());
        let texts = Texts { names: texts.keys().map(String::as_str).collect(), read: &read };
        Self::from_entries("embedded", entries.collect(), &[], &texts, config.captions).0
    }

    /// What is in the folder `root`: a raw data set, images, or files that hold images.
    pub(super) fn from_any_folder(root: &Path, config: &DataConfig) -> Result<Self> {
        if let Some(source) = Self::from_raw(root)? {
            return source.with_notes_on(root);
        }
        let listing = Listing::of(root);
        if listing.found.is_empty() {
            if let Some(source) = Self::from_raw_below(root, &listing)? {
                return Ok(source);
            }
            // By their content too, but all or none: one that is damaged would be missing without a word.
            let begins = |files: &[(String, PathBuf)], is: fn(&[u8]) -> bool| {
                files.iter().any(|(_, path)| is(&start_of(path)))
            };
            let has_archives =
                begins(&listing.archives, |start| ArchiveKind::of_start(start).is_some());
            // What img2dataset writes beside each archive: the table of its images without their pixels.
            let archives: HashSet<&str> =
                listing.archives.iter().map(|(name, _)| names::stem(name)).collect();
            let mut tables = listing.tables.clone();
            tables.retain(|(name, _)| !has_archives || !archives.contains(names::stem(name)));
            let has_tables = begins(&tables, table::is_table);
            match (has_archives, has_tables) {
                (true, false) => return Self::from_archives(listing.archives, config),
                (false, true) => return Self::from_tables(tables, config),
                (true, true) => return Err(Error::file(root, both_kinds(root, &listing))),
                (false, false) => {}
            }
            if listing.skipped.is_empty() {
                return Err(Error::file(root, no_image(&listing)));
            }
        }
        let raw = listing.raw.clone();
        let mut source = Self::from_listing("images in a folder", listing, &HashMap::new(), config);
        source.notes.extend(super::raw::left_out(root, &raw));
        Ok(source)
    }

    /// The images in the archives `files`, as if they were unpacked into one folder.
    pub(super) fn from_archives(
        files: Vec<(String, PathBuf)>,
        config: &DataConfig,
    ) -> Result<Self> {
        let shards = Shard::all(files);
        let (mut skipped, mut inside) = (Vec::new(), Vec::new());
        for shard in &shards {
            let kind = ArchiveKind::of_start(&start_of(&shard.path)).ok_or_else(|| {
                Error::file(&shard.path, "is no archive that is read (tar, zip), or cannot be read")
            })?;
            let Members { files, unreadable } = archive::members(&shard.path, kind)?;
            inside.push(files);
            // Links and the like to what is no image are no loss.
            let unreadable =
                unreadable.into_iter().filter(|(name, _)| names::is_image_path(Path::new(name)));
            let skip = |(name, why)| Skip::new(format!("{}{name}", shard.folder()), why);
            skipped.extend(unreadable.map(skip));
        }
        // Where archives hold files of the same names, the name of the archive tells them apart.
        let mut seen = HashSet::new();
        let is_unique = (shards.iter().zip(&inside))
            .flat_map(|(shard, files)| files.iter().map(|file| (shard.split, file.name.as_str())))
            .all(|place| seen.insert(place));
        drop(seen);
        let mut prefixes = HashMap::new();
        let mut found = Vec::new();
        for (shard, files) in shards.iter().zip(inside) {
            let archive = if is_unique { String::new() } else { format!("{}/", shard.stem) };
            let prefix = format!("{}{archive}", shard.folder());
            for Member { name, location } in files {
                let name = format!("{prefix}{name}");
                if !prefix.is_empty() {
                    prefixes.insert(name.clone(), (prefix.len(), shard.split));
                }
                found.push(Found { name, content: Content::Archived(location) });
            }
        }
        let mut listing = Listing::of_files(found.into_iter());
        listing.skipped.extend(skipped);
        if listing.found.is_empty() && listing.skipped.is_empty() {
            let paths: Vec<String> =
                shards.iter().map(|shard| shard.path.display().to_string()).collect();
            let instead = listing.instead();
            let separator = if instead.is_empty() { "" } else { ": " };
            let message = format!("no image is in {}{separator}{instead}", listed(&paths, ", "));
            return Err(Error::invalid(message));
        }
        let kind = if shards.len() == 1 { "images in an archive" } else { "images in archives" };
        let mut source = Self::from_listing(kind, listing, &prefixes, config);
        source.note_shards(&shards);
        Ok(source)
    }

    /// The data set of a listing; `prefixes` has [`Entry::prefix`] and [`Entry::split`] of those that are in a file with some.
    fn from_listing(
        kind: &'static str,
        mut listing: Listing,
        prefixes: &HashMap<String, (usize, Option<Split>)>,
        config: &DataConfig,
    ) -> Self {
        let found = std::mem::take(&mut listing.found);
        let entries = found.into_iter().map(|found| {
            let (prefix, split) = prefixes.get(&found.name).copied().unwrap_or_default();
            Entry { prefix, split, ..Entry::of(found) }
        });
        let (mut source, used) = {
            let read = listing.reader();
            let names = listing.texts.iter().map(|text| text.name.as_str()).collect();
            let texts = Texts { names, read: &read };
            Self::from_entries(kind, entries.collect(), &[], &texts, config.captions)
        };
        listing.use_texts(&used);
        source.notes.extend(listing.notes());
        source.skipped.extend(listing.skipped);
        source.unread = listing.unread;
        source
    }

    /// The images that the text file at `path` lists.
    pub(super) fn from_list(path: &Path, config: &DataConfig) -> Result<Self> {
        let (lines, notes) = list::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut entries: Vec<Entry> = lines
            .into_iter()
            .map(|line| Entry {
                content: Content::Disk(path_in(folder, &line)),
                name: line.name,
                prefix: 0,
                split: None,
                label: line.label,
                captions: line.caption.into_iter().collect(),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut source, _) =
            Self::from_entries("images in a list", entries, &[], &Texts::NONE, config.captions);
        source.notes.extend(notes);
        Ok(source)
    }
}

/// The path of an image in a list, whose folders may be separated as on another system.
fn path_in(folder: &Path, line: &list::Line) -> PathBuf {
    let as_written = folder.join(&line.path);
    let with_slashes = folder.join(line.path.replace('\\', "/"));
    if !as_written.exists() && with_slashes.exists() { with_slashes } else { as_written }
}

/// As much of the start of a file as tells what it is.
fn start_of(path: &Path) -> Vec<u8> {
    Content::Disk(path.to_owned()).start(ArchiveKind::START).unwrap_or_default()
}

/// The message for a folder of archives and tables.
fn both_kinds(root: &Path, listing: &Listing) -> String {
    let first = |files: &[(String, PathBuf)]| {
        files.first().map_or_else(String::new, |(name, _)| root.join(name).display().to_string())
    };
    format!(
        "holds archives and tables, which are not one data set; name one: --data {} or --data {}",
        first(&listing.archives),
        first(&listing.tables)
    )
}

/// The message for a folder without images.
fn no_image(listing: &Listing) -> String {
    let extensions = names::IMAGE_EXTENSIONS.join(", ");
    let message = format!(
        "holds no image: looked in it and its sub-folders for files that end in {extensions}, \
         for archives and tables of images (.tar, .zip, .parquet), \
         for IDX files (train-images-idx3-ubyte[.gz]) and for CIFAR batches (data_batch_1.bin)"
    );
    let instead = listing.instead();
    if instead.is_empty() { message } else { format!("{message}; {instead}") }
}
