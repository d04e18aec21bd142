//! Captions: what people wrote of their images, in files beside these. Each image may have several. They come, in this
//! order, from
//!
//! - the rows of a `metadata.jsonl` or `metadata.csv` (Hugging Face's imagefolder) that name the image relative to the
//!   folder of that file,
//! - the lines of the text file of its name: `x.txt` beside `x.png`,
//! - the JSON file of its name, under the same keys as in metadata,
//!
//! or, where that is asked for, from the image's own name. Text is untrusted: files are read to a limit, and what cannot be
//! used is counted and named, never fatal.

mod metadata;
mod text;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::decode::read_bounded;
use super::names::stem;
use super::report::{counted, listed};
use crate::error::{Error, Result};
use metadata::Row;
use text::Cleaned;

pub(super) use metadata::CAPTIONS as CAPTION_KEYS;
pub(super) use text::{as_path, decoded};

/// Where captions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptionSource {
    /// Files beside the images, where there are any.
    Auto,
    /// There are none.
    None,
    /// The names of the images.
    Names,
}

/// `caption` as captions are kept: on one line, with single spaces, cut where it is too long; `None` where nothing is left.
pub(crate) fn cleaned_caption(caption: &str) -> Option<String> {
    text::cleaned(caption).map(|cleaned| cleaned.text)
}

/// The captions in a text file, one a line; empty lines do not count.
///
/// # Errors
/// A file that cannot be read or is not UTF-8.
pub(crate) fn read_captions(path: &Path) -> Result<Vec<String>> {
    let content = read_bounded(path).map_err(|reason| Error::file(path, reason))?;
    let lines = decoded(&content).map_err(|reason| Error::file(path, reason))?;
    Ok(lines.lines().filter_map(cleaned_caption).collect())
}

/// The captions of a list of images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Captions {
    /// Of each image, in its order; empty where none has any.
    pub(super) by_image: Vec<Vec<String>>,
    /// Names of the files that held captions or claimed to.
    pub(super) used: BTreeSet<String>,
    pub(super) notes: Vec<String>,
}

/// Whether the file called `name` may hold captions of the images in its folder or below.
pub(super) fn may_hold(name: &str) -> bool {
    let lower = name.to_lowercase();
    metadata::is_metadata(name) || lower.ends_with(TEXT) || lower.ends_with(JSON)
}

/// The extensions of files beside an image.
const TEXT: &str = ".txt";
const JSON: &str = ".json";

/// The captions of the images called `images`: those that are `given`, which has none or a list for each, then those in the
/// ones of `files` that [`may_hold`] some; names are relative to the data set. `read` returns the content of a file, or why
/// it cannot be read; it is called for those that count.
pub(super) fn of_files<'a>(
    images: &[&str],
    given: &[Vec<String>],
    files: impl IntoIterator<Item = &'a str>,
    read: impl Fn(&str) -> Result<Vec<u8>, String>,
) -> Captions {
    let mut found = Collected::new(images);
    for (image, captions) in given.iter().enumerate() {
        captions.iter().for_each(|caption| found.add(image, caption));
    }
    let files = files.into_iter().filter(|name| may_hold(name));
    let (tables, texts): (Vec<&str>, Vec<&str>) =
        files.partition(|name| metadata::is_metadata(name));
    for name in tables {
        found.add_table(name, read(name));
    }
    for name in texts {
        found.add_text(name, &read);
    }
    found.finish()
}

/// The names of the images called `images` as captions.
pub(super) fn of_names(images: &[&str]) -> Captions {
    let mut found = Collected::new(images);
    for (image, name) in images.iter().enumerate() {
        found.add(image, &text::of_name(name));
    }
    found.finish()
}

/// Captions and what is wrong with some, while they are collected.
struct Collected<'a> {
    by_image: Vec<Vec<String>>,
    /// Index of each image by its name.
    index: HashMap<&'a str, usize>,
    /// Indices of the images of each name without its extension.
    stems: HashMap<&'a str, Vec<usize>>,
    used: BTreeSet<String>,
    unusable: Vec<String>,
    strangers: Vec<String>,
    cut: usize,
}

impl<'a> Collected<'a> {
    fn new(images: &[&'a str]) -> Self {
        let mut stems: HashMap<_, Vec<_>> = HashMap::new();
        for (image, name) in images.iter().enumerate() {
            stems.entry(stem(name)).or_default().push(image);
        }
        Self {
            by_image: vec![Vec::new(); images.len()],
            index: images.iter().enumerate().map(|(image, name)| (*name, image)).collect(),
            stems,
            used: BTreeSet::new(),
            unusable: Vec::new(),
            strangers: Vec::new(),
            cut: 0,
        }
    }

    fn add(&mut self, image: usize, caption: &str) {
        let Some(Cleaned { text, is_cut }) = text::cleaned(caption) else { return };
        self.cut += usize::from(is_cut);
        // A caption that is written twice is not twice as true.
        if !self.by_image[image].contains(&text) {
            self.by_image[image].push(text);
        }
    }

    /// The rows of a table of metadata.
    fn add_table(&mut self, name: &str, content: Result<Vec<u8>, String>) {
        let table = match content.and_then(|content| metadata::table(name, &content)) {
            Ok(table) => table,
            Err(reason) => {
                self.unusable.push(format!("{name} ({reason})"));
                self.used.insert(name.to_owned());
                return;
            }
        };
        self.unusable.extend(table.unusable.iter().map(|reason| format!("{name} ({reason})")));
        let folder = name.rfind('/').map_or("", |slash| &name[..=slash]);
        for Row { file_name, captions } in table.rows {
            let path = format!("{folder}{}", as_path(&file_name));
            match self.index.get(path.as_str()) {
                Some(&image) => captions.iter().for_each(|caption| self.add(image, caption)),
                None => self.strangers.push(path),
            }
        }
        self.used.insert(name.to_owned());
    }

    /// The lines of the text file of an image; any other text file is left alone.
    fn add_text(&mut self, name: &str, read: impl Fn(&str) -> Result<Vec<u8>, String>) {
        let Some(images) = self.stems.get(stem(name)).cloned() else { return };
        let content = read(name);
        if name.to_lowercase().ends_with(JSON) {
            // Most say something else of an image: boxes, a licence, how it was made.
            let captions =
                content.map_or_else(|_| Vec::new(), |content| metadata::captions(&content));
            for caption in &captions {
                images.iter().for_each(|image| self.add(*image, caption));
            }
            if !captions.is_empty() {
                self.used.insert(name.to_owned());
            }
            return;
        }
        self.used.insert(name.to_owned());
        let lines = content.as_deref().map_err(Clone::clone).and_then(decoded);
        match lines {
            Ok(content) => {
                for image in images {
                    content.lines().for_each(|line| self.add(image, line));
                }
            }
            Err(reason) => self.unusable.push(format!("{name} ({reason})")),
        }
    }

    fn finish(self) -> Captions {
        let mut notes = Vec::new();
        let with = self.by_image.iter().filter(|captions| !captions.is_empty()).count();
        if with > 0 {
            let captions = self.by_image.iter().map(Vec::len).sum();
            let n = counted(captions, "caption");
            let without = match self.by_image.len() - with {
                0 => "all images".to_owned(),
                without => format!("{}, {without} have none", counted(with, "image")),
            };
            notes.push(format!("{n} of {without}"));
        }
        if !self.unusable.is_empty() {
            let n = counted(self.unusable.len(), "caption source");
            notes.push(format!("{n} cannot be used: {}", listed(&self.unusable, ", ")));
        }
        if !self.strangers.is_empty() {
            let n = counted(self.strangers.len(), "row");
            notes.push(format!(
                "{n} of metadata on images that are not there: {}",
                listed(&self.strangers, ", ")
            ));
        }
        if self.cut > 0 {
            let n = counted(self.cut, "caption");
            notes.push(format!("{n} cut to {} characters", text::MOST_CHARACTERS));
        }
        let by_image = if with > 0 { self.by_image } else { Vec::new() };
        Captions { by_image, used: self.used, notes }
    }
}

#[cfg(test)]
mod tests;
