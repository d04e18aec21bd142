//! Listing a folder or what is inside archives: the images, what is left out, and why. It goes by names, and by the first
//! bytes of files whose names are inconclusive; it does not know which folder is a class.
//!
//! Symbolic links are followed; a loop of them is skipped and counted. Files that systems leave in folders are ignored
//! silently; everything else that is not an image is counted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::archive::ArchiveKind;
use super::content::Content;
use super::names::{self, Kind, escaped};
use super::report::{CONVERT, Extensions, Skip, counted, listed, unread_pictures};
use super::{captions, cifar, class_files, idx, own, table};

/// A file found: its path relative to the root with `/` between folders, and where its bytes are.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) content: Content,
}

/// The contents of a folder and those below it, or of archives.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every image file, sorted by name.
    pub(super) found: Vec<Found>,
    /// What could not be traversed, sorted by name.
    pub(super) skipped: Vec<Skip>,
    /// Pictures in unsupported formats.
    pub(super) unread: Extensions,
    /// The same, where a readable image of the same name is beside them.
    pub(super) doubled: Extensions,
    /// Files that are not pictures, by their names.
    pub(super) other: Extensions,
    /// Images and folders whose names begin with a dot, and which no known system creates.
    pub(super) hidden: Vec<String>,
    /// Folders with the files of a raw data set, relative names, the root as `.`.
    pub(super) raw: BTreeSet<String>,
    /// Folders and pictures made by vqgen.
    pub(super) made: Vec<String>,
    /// Files that may hold captions or classes, sorted by name; they are among the others too, until they are used.
    pub(super) texts: Vec<Found>,
    /// Archives and tables that may hold images, by name; they are among the others too.
    pub(super) archives: Vec<(String, PathBuf)>,
    pub(super) tables: Vec<(String, PathBuf)>,
}

/// Files whose part is known only when all are.
#[derive(Default)]
struct Pending {
    /// Pictures in unsupported formats, with their extensions.
    unread: Vec<(String, String)>,
    json: Vec<Found>,
}

impl Listing {
    /// Lists what is below `root`. Opens only files whose names are inconclusive.
    pub(super) fn of(root: &Path) -> Self {
        let mut listing = Self::default();
        let mut pending = Pending::default();
        let mut entries = WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {
                    if entry.depth() > 0 && listing.leaves_out(root, &entry) {
                        entries.skip_current_dir();
                    }
                }
                Ok(entry) => {
                    let path = entry.into_path();
                    let name = relative_name(root, &path);
                    if is_raw(&path) {
                        let folder = path.parent().unwrap_or(root);
                        listing.raw.insert(relative_name(root, folder));
                    }
                    if let Kind::Other(extension) = names::kind_of(&path) {
                        if ArchiveKind::is_extension(&extension) {
                            listing.archives.push((name.clone(), path.clone()));
                        } else if extension == table::EXTENSION {
                            listing.tables.push((name.clone(), path.clone()));
                        }
                    }
                    listing.add(Found { name, content: Content::Disk(path) }, &mut pending);
                }
                Err(error) => listing.skipped.extend(skip_of(root, &error)),
            }
        }
        listing.leave_out_drawn(&mut pending.json);
        listing.settle(pending);
        listing
    }

    /// Lists files inside archives, by the same rules as those of a folder that they are unpacked into.
    pub(super) fn of_files(files: impl Iterator<Item = Found>) -> Self {
        let mut listing = Self::default();
        let mut pending = Pending::default();
        let mut hidden = BTreeSet::new();
        for found in files {
            let parts =
                found.name.match_indices('/').map(|(slash, _)| Path::new(&found.name[..slash]));
            let mut parts =
                parts.filter(|part| names::is_system_folder(part) || names::is_hidden(part));
            match parts.next() {
                None => listing.add(found, &mut pending),
                Some(part) if names::is_system_folder(part) => {}
                Some(part) => {
                    hidden.insert(format!("{}/", part.display()));
                }
            }
        }
        listing.hidden.extend(hidden);
        listing.settle(pending);
        listing
    }

    /// Takes a file to where it belongs by its name and, where that is inconclusive, by its first bytes.
    fn add(&mut self, found: Found, pending: &mut Pending) {
        let path = Path::new(&found.name);
        match names::kind_of(path) {
            Kind::System => {}
            Kind::Hidden if names::is_image_path(path) => self.hidden.push(found.name),
            Kind::Hidden => {}
            Kind::Image => self.found.push(found),
            kind if holds_image(&found.content, &kind) => self.found.push(found),
            Kind::Unread(extension) => pending.unread.push((found.name, extension)),
            Kind::Other(extension) if extension == "json" => pending.json.push(found),
            Kind::Other(extension) => {
                self.other.add(&extension);
                if captions::may_hold(&found.name) || class_files::may_hold(&found.name) {
                    self.texts.push(found);
                }
            }
        }
    }

    /// Decides on the files in `pending`, and sorts all by name.
    fn settle(&mut self, pending: Pending) {
        self.count_unread(&pending.unread);
        pending.json.iter().for_each(|_| self.other.add("json"));
        self.texts.extend(pending.json);
        self.found.sort_by(|a, b| a.name.cmp(&b.name));
        self.texts.sort_by(|a, b| a.name.cmp(&b.name));
        self.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Whether the folder `entry` is no part of the user's collection; notes it unless a system made it.
    fn leaves_out(&mut self, root: &Path, entry: &DirEntry) -> bool {
        let path = entry.path();
        let name = || format!("{}/", relative_name(root, path));
        if names::is_system_folder(path) {
            return true;
        }
        if names::is_hidden(path) {
            self.hidden.push(name());
            return true;
        }
        if own::is_made(path) {
            self.made.push(name());
            return true;
        }
        false
    }

    /// Moves the pictures that vqgen drew, as files of `json` beside them record, from the images to what it made; those
    /// files are taken out of `json`.
    fn leave_out_drawn(&mut self, json: &mut Vec<Found>) {
        if json.is_empty() {
            return;
        }
        let path_of = |found: &Found| match &found.content {
            Content::Disk(path) => Some(path.clone()),
            _ => None,
        };
        let paths: HashSet<PathBuf> = json.iter().filter_map(path_of).collect();
        let mut descriptions = HashSet::new();
        for found in std::mem::take(&mut self.found) {
            let beside = path_of(&found).map_or_else(Vec::new, |path| own::descriptions(&path));
            let description = beside.into_iter().find(|path| {
                descriptions.contains(path) || paths.contains(path) && own::is_description(path)
            });
            match description {
                None => self.found.push(found),
                Some(description) => {
                    descriptions.insert(description);
                    self.made.push(found.name);
                }
            }
        }
        json.retain(|found| path_of(found).is_none_or(|path| !descriptions.contains(&path)));
    }

    /// Counts pictures in unsupported formats, separately those with a readable image of the same name.
    fn count_unread(&mut self, unread: &[(String, String)]) {
        if unread.is_empty() {
            return;
        }
        let stem = |name: &str| names::stem(name).to_lowercase();
        let stems: HashSet<String> = self.found.iter().map(|found| stem(&found.name)).collect();
        for (name, extension) in unread {
            let is_doubled = stems.contains(&stem(name));
            if is_doubled { &mut self.doubled } else { &mut self.unread }.add(extension);
        }
    }

    /// Takes the text files called `used` out of those that were left out.
    pub(super) fn use_texts(&mut self, used: &BTreeSet<String>) {
        for text in self.texts.iter().filter(|text| used.contains(&text.name)) {
            self.other.take_one(&names::extension_of(Path::new(&text.name)));
        }
    }

    /// What reads one of the texts by its name.
    pub(super) fn reader(&self) -> impl Fn(&str) -> Result<Vec<u8>, String> + '_ {
        let texts: HashMap<&str, &Content> =
            self.texts.iter().map(|text| (text.name.as_str(), &text.content)).collect();
        move |name| match texts.get(name) {
            Some(content) => content.read().map(std::borrow::Cow::into_owned),
            None => Err("is not there".to_owned()),
        }
    }

    /// What was left out and is neither damaged nor a missing picture, one line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.doubled.total() > 0 {
            let what = unread_pictures(&self.doubled);
            notes.push(format!(
                "{what}; an image of the same name is beside each, which is read instead"
            ));
        }
        if self.other.total() > 0 {
            let n = counted(self.other.total(), "other file");
            notes.push(format!("left out {n}, not images by their names: {}", self.other));
        }
        if !self.hidden.is_empty() {
            notes.push(format!(
                "left out hidden names, which start with a dot: {}",
                listed(&self.hidden, ", ")
            ));
        }
        if !self.made.is_empty() {
            notes.push(format!("left out what vqgen made: {}", listed(&self.made, ", ")));
        }
        notes
    }

    /// What is there instead of images, as the rest of a sentence; empty for an empty folder.
    pub(super) fn instead(&self) -> String {
        let mut parts = self.notes();
        if self.unread.total() > 0 {
            parts.insert(0, format!("there are {} ({CONVERT})", unread_pictures(&self.unread)));
        }
        parts.join("; ")
    }
}

/// Whether a file whose name is inconclusive begins like a readable image.
fn holds_image(content: &Content, kind: &Kind) -> bool {
    names::is_inconclusive(kind)
        && content.start(names::START).is_some_and(|start| names::begins_like_image(&start, kind))
}

/// Whether the file at `path` holds many images, judged by its name.
fn is_raw(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| idx::is_image_file(name) || cifar::is_batch_file(name))
}

/// The report on an entry that cannot be traversed; none if it is not an image.
fn skip_of(root: &Path, error: &walkdir::Error) -> Option<Skip> {
    let path = error.path().unwrap_or(root);
    if path != root && (names::is_hidden(path) || names::is_system_folder(path)) {
        return None;
    }
    let name = relative_name(root, path);
    if let Some(ancestor) = error.loop_ancestor() {
        let ancestor = relative_name(root, ancestor);
        return Some(Skip::new(name, format!("is a link back to `{ancestor}/`, a loop")));
    }
    let counts = path.is_dir() || matches!(names::kind_of(path), Kind::Image | Kind::Unread(_));
    let cause = || error.io_error().map_or(error.to_string(), ToString::to_string);
    counts.then(|| Skip::new(name, format!("cannot be read: {}", cause())))
}

/// `path` below `root` with forward slashes on every system: determines order and class. Bytes that are not UTF-8 are
/// escaped, so that distinct names stay distinct.
fn relative_name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<String> = relative
        .components()
        .map(|part| match part.as_os_str().to_str() {
            Some(part) => part.to_owned(),
            None => escaped(part.as_os_str().as_encoded_bytes()),
        })
        .collect();
    if parts.is_empty() { ".".to_string() } else { parts.join("/") }
}
