//! What opening a data set found, for the front end to show: counts, skipped files with reasons, and anything unusual
//! about the splits. Values and their text; nothing is printed here.

use std::collections::BTreeMap;
use std::fmt;

use super::Split;

/// How many files, kinds or names are listed; the rest is a count.
const MAX_NAMED: usize = 10;
/// How many images with unconverted colours are listed.
const MAX_NAMED_COLOURS: usize = 3;

/// The advice on pictures in unsupported formats.
pub(super) const CONVERT: &str = "convert them to PNG or JPEG, or move them out of the folder";

/// Why a file could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It cannot be read, is not an image, or is damaged.
    Unreadable,
    /// It is in a place without a class.
    Misplaced,
    /// Its class is not written, where those of others are.
    Unlabelled,
}

impl Cause {
    /// What is wrong with `n` such files, and the advice.
    fn text(self, n: usize) -> (&'static str, &'static str) {
        match (self, n) {
            (Self::Unreadable, _) => ("cannot be read", "repair or remove them"),
            (Self::Misplaced, 1) => {
                ("is in no class folder", "move it into the folder of its class")
            }
            (Self::Misplaced, _) => (
                "are in no class folder",
                "move each into the folder of its class, or all images into one folder to have no classes",
            ),
            (Self::Unlabelled, 1) => ("has no class", "write its class as those of the others"),
            (Self::Unlabelled, _) => (
                "have no class",
                "write their classes as those of the others; of a table, --set data.columns=label= takes none",
            ),
        }
    }
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its path relative to the data set, `/` between folders.
    pub path: String,
    /// Why, as the rest of a sentence that starts with the path.
    pub reason: String,
    /// The kind of reason.
    pub cause: Cause,
}

impl Skip {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into(), cause: Cause::Unreadable }
    }

    pub(super) fn misplaced(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { cause: Cause::Misplaced, ..Self::new(path, reason) }
    }

    pub(super) fn unlabelled(path: impl Into<String>) -> Self {
        Self { cause: Cause::Unlabelled, ..Self::new(path, "has no class") }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.reason)
    }
}

/// Files counted by their extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(BTreeMap<String, usize>);

impl Extensions {
    pub(super) fn add(&mut self, extension: &str) {
        *self.0.entry(extension.to_owned()).or_default() += 1;
    }

    /// Takes one away, if there is one.
    pub(super) fn take_one(&mut self, extension: &str) {
        if let Some(n) = self.0.get_mut(extension) {
            *n -= 1;
            if *n == 0 {
                self.0.remove(extension);
            }
        }
    }

    /// How many files there are of all extensions.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Lower-case extensions and numbers of files, the most frequent first; files without an extension are under "".
    pub fn counts(&self) -> Vec<(&str, usize)> {
        let mut counts: Vec<_> = self.0.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts
    }
}

impl fmt::Display for Extensions {
    /// `20 .heic, 3 .psd, 1 without an extension`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let text = |(name, n): &(&str, usize)| match *name {
            "" => format!("{n} without an extension"),
            name => format!("{n} .{name}"),
        };
        let named: Vec<String> = counts.iter().take(MAX_NAMED).map(text).collect();
        f.write_str(&named.join(", "))?;
        match counts.get(MAX_NAMED..).unwrap_or_default().iter().map(|(_, n)| n).sum() {
            0usize => Ok(()),
            more => write!(f, " and {more} of other kinds"),
        }
    }
}

/// The first of `names`, joined by `separator`, and how many more there are.
pub(super) fn listed(names: &[String], separator: &str) -> String {
    let named = &names[..names.len().min(MAX_NAMED)];
    let mut text = named.join(separator);
    if names.len() > MAX_NAMED {
        text.push_str(&format!("{separator}and {} more", names.len() - MAX_NAMED));
    }
    text
}

/// `1 image`, `2 images`.
pub(super) fn counted(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// A group of unusable files with one cause, without their names.
struct Group<'a> {
    head: String,
    /// The advice.
    advice: &'static str,
    skips: Vec<&'a Skip>,
}

fn groups(skipped: &[Skip]) -> Vec<Group<'_>> {
    let of = |cause| {
        let skips: Vec<&Skip> = skipped.iter().filter(|skip| skip.cause == cause).collect();
        let (what, advice) = cause.text(skips.len());
        let head = format!("{} that {what}", counted(skips.len(), "file"));
        (!skips.is_empty()).then_some(Group { head, advice, skips })
    };
    [Cause::Unreadable, Cause::Misplaced, Cause::Unlabelled].into_iter().filter_map(of).collect()
}

/// The files that cannot be used, in one line: how many of each kind, the first names of each, and the advice.
pub(super) fn unusable(skipped: &[Skip], unread: &Extensions) -> String {
    let mut parts: Vec<String> = groups(skipped)
        .into_iter()
        .map(|Group { head, advice, skips }| format!("{head}: {} ({advice})", with_reasons(&skips)))
        .collect();
    if unread.total() > 0 {
        parts.push(format!("{} ({CONVERT})", unread_pictures(unread)));
    }
    parts.join("; ")
}

/// The first files with their reasons; a reason that consecutive files share is given once.
fn with_reasons(skips: &[&Skip]) -> String {
    let named = &skips[..skips.len().min(MAX_NAMED)];
    let mut parts: Vec<String> = named
        .chunk_by(|a, b| a.reason == b.reason)
        .map(|alike| match alike {
            [one] => one.to_string(),
            _ => {
                let paths: Vec<&str> = alike.iter().map(|skip| skip.path.as_str()).collect();
                format!("{}: each {}", paths.join(", "), alike[0].reason)
            }
        })
        .collect();
    if skips.len() > MAX_NAMED {
        parts.push(format!("and {} more", skips.len() - MAX_NAMED));
    }
    parts.join("; ")
}

/// `40 pictures in unsupported formats: 20 .heic, 20 .avif`.
pub(super) fn unread_pictures(unread: &Extensions) -> String {
    match unread.total() {
        1 => format!("1 picture in an unsupported format: {unread}"),
        n => format!("{n} pictures in unsupported formats: {unread}"),
    }
}

/// The contents of an open data set. Its `Display` is a one-line summary, then what was skipped, one line per kind and
/// one per file (the first ten), then the notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The kind of source: "images in a folder", "IDX files" and so on.
    pub source: &'static str,
    /// How many images can be used.
    pub read: usize,
    /// Every unusable file, sorted by path.
    pub skipped: Vec<Skip>,
    /// Pictures in unsupported formats. They count as skipped.
    pub unread: Extensions,
    /// Number of classes; 0 without classes.
    pub classes: usize,
    /// Images per split, in the order of [`Split::ALL`].
    pub per_split: [usize; 3],
    /// Whether images are decoded again at every use, because they exceed the memory budget.
    pub streamed: bool,
    /// Anything else worth reporting.
    pub notes: Vec<String>,
}

/// The note on images whose colour profiles cannot be converted, each with the reason.
pub(super) fn unconverted_note(images: &[(String, String)]) -> Option<String> {
    let subject = match images.len() {
        0 => return None,
        1 => "1 image has a colour profile that cannot be converted: its".to_string(),
        n => format!("{n} images have a colour profile that cannot be converted: their"),
    };
    let named = images.iter().take(MAX_NAMED_COLOURS);
    let mut named: Vec<String> = named.map(|(name, why)| format!("{name} ({why})")).collect();
    if images.len() > MAX_NAMED_COLOURS {
        named.push(format!("{} more", images.len() - MAX_NAMED_COLOURS));
    }
    Some(format!("{subject} colours are treated as sRGB: {}", named.join(", ")))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", counted(self.read, "image"), self.source)?;
        match self.classes {
            0 => write!(f, ", no classes)")?,
            1 => write!(f, ", 1 class)")?,
            n => write!(f, ", {n} classes)")?,
        }
        let mut separator = ':';
        for (split, n) in Split::ALL.iter().zip(self.per_split) {
            write!(f, "{separator} {n} {split}")?;
            separator = ',';
        }
        if self.streamed {
            write!(f, "; decoded at every use, as they exceed data.memory_budget_mb")?;
        }
        for Group { head, advice, skips } in groups(&self.skipped) {
            write!(f, "\nskipped {head} ({advice}):")?;
            for skip in skips.iter().take(MAX_NAMED) {
                write!(f, "\n  {skip}")?;
            }
            if skips.len() > MAX_NAMED {
                write!(f, "\n  and {} more", skips.len() - MAX_NAMED)?;
            }
        }
        if self.unread.total() > 0 {
            write!(f, "\nskipped {} ({CONVERT})", unread_pictures(&self.unread))?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
