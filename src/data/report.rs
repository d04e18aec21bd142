//! What opening a data set found, for the front end to show: counts, the files that were skipped and why, and
//! anything unusual about the splits. Values and their text; nothing is printed here.

use std::fmt;

use super::Split;

/// How many skipped files the text names; the rest is a count.
const MAX_NAMED: usize = 10;

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Its path relative to the data set, `/` between folders.
    pub path: String,
    /// Why, as the rest of a sentence that starts with the path.
    pub reason: String,
}

impl Skip {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.reason)
    }
}

/// What is in an open data set. Its `Display` is a summary of one line and one more for each skipped file
/// (the first ten) and each note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The kind of source: "images in a folder", "IDX files" and so on.
    pub source: &'static str,
    /// How many images can be used.
    pub read: usize,
    /// Every file that cannot, sorted by path.
    pub skipped: Vec<Skip>,
    /// How many classes there are; 0 for a set without.
    pub classes: usize,
    /// Images per split, in the order of [`Split::ALL`].
    pub per_split: [usize; 3],
    /// Whether images are decoded again at every use, because they exceed the memory budget.
    pub streamed: bool,
    /// Anything else worth a line.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images ({}", self.read, self.source)?;
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
        if !self.skipped.is_empty() {
            write!(f, "\nskipped {}:", self.skipped.len())?;
            for skip in self.skipped.iter().take(MAX_NAMED) {
                write!(f, "\n  {skip}")?;
            }
            if self.skipped.len() > MAX_NAMED {
                write!(f, "\n  and {} more", self.skipped.len() - MAX_NAMED)?;
            }
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
