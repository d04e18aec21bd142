//! Files that together are one data set, as archives and tables of many images are published: a range of numbers in their
//! names, and splits by their names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Split;
use super::arrangement::{split_of, taken_from_train};
use super::names::stem;
use super::report::listed;
use crate::error::{Error, Result};

/// Most files that a range may name.
const MOST_FILES: usize = 1_000_000;

/// One of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    /// Its relative name, without the extension where no two differ in that alone.
    pub(super) stem: String,
    /// The split that it is, where names are splits.
    pub(super) split: Option<Split>,
}

impl Shard {
    /// Those of files with these relative names. They are splits if each is named after one, at least one after the training
    /// split and at least one after another.
    pub(super) fn all(files: Vec<(String, PathBuf)>) -> Vec<Self> {
        let splits: Vec<Option<Split>> = files.iter().map(|(name, _)| split_in(name)).collect();
        let has = |split| splits.contains(&Some(split));
        let are_splits = !splits.contains(&None)
            && has(Split::Train)
            && (has(Split::Validation) || has(Split::Test));
        // `a.tar` beside `a.zip`: then extensions count.
        let stems: HashSet<&str> = files.iter().map(|(name, _)| stem(name)).collect();
        let are_distinct = stems.len() == files.len();
        let shard = |((name, path), split): ((String, PathBuf), Option<Split>)| Self {
            path,
            stem: if are_distinct { stem(&name).to_owned() } else { name },
            split: split.filter(|_| are_splits),
        };
        files.into_iter().zip(splits).map(shard).collect()
    }

    /// The folder that stands for its split, with a `/`; empty where names are no splits.
    pub(super) fn folder(&self) -> String {
        self.split.map_or_else(String::new, |split| format!("{split}/"))
    }

    /// The note on shards that are splits, of which images with a published split remain as `published` says, or on some
    /// that could be.
    pub(super) fn note(shards: &[Self], published: &[Option<Split>]) -> Option<String> {
        if shards.iter().all(|shard| shard.split.is_none()) {
            let is_held_out = |shard: &Self| {
                matches!(split_in(&shard.stem), Some(Split::Validation | Split::Test))
            };
            let (held_out, others): (Vec<&Self>, Vec<&Self>) =
                shards.iter().partition(|shard| is_held_out(shard));
            let names = |shards: &[&Self]| {
                let names: Vec<String> = shards.iter().map(|shard| shard.stem.clone()).collect();
                listed(&names, ", ")
            };
            return (!held_out.is_empty() && !others.is_empty()).then(|| {
                format!(
                    "all files are one set: {} may be a split, but not all files are named after one: {}",
                    names(&held_out),
                    names(&others)
                )
            });
        }
        let has = |split| published.contains(&Some(split));
        let rest = taken_from_train(has(Split::Validation), has(Split::Test));
        Some(format!("the files are splits by their names ({rest})"))
    }
}

/// The split that one word of a name is called after; `None` where none or several are.
fn split_in(name: &str) -> Option<Split> {
    let mut splits = stem(name)
        .split(['/', '-', '_', '.', ' '])
        .filter(|word| !word.is_empty())
        .filter_map(split_of);
    let first = splits.next()?;
    splits.all(|other| other == first).then_some(first)
}

/// The files that `pattern` names, as in `train-{0000..0099}.tar`; `None` without such a range.
///
/// # Errors
/// A range that ends before it starts, too many files, or one that is not there.
pub(super) fn expanded(pattern: &str) -> Option<Result<Vec<PathBuf>>> {
    Range::first_in(pattern)?;
    let refuse = |message| Error::file(Path::new(pattern), message);
    let mut names = vec![pattern.to_owned()];
    while let Some(range) = names.first().and_then(|name| Range::first_in(name)) {
        if range.last < range.first {
            return Some(Err(refuse("has a range that ends before it starts")));
        }
        let n = (range.last - range.first).saturating_add(1);
        if n.saturating_mul(names.len()) > MOST_FILES {
            return Some(Err(refuse("names more than a million files")));
        }
        names = names
            .iter()
            .flat_map(|name| Range::first_in(name).map(|range| range.names(name)))
            .flatten()
            .collect();
    }
    let paths: Vec<PathBuf> = names.into_iter().map(PathBuf::from).collect();
    let missing: Vec<&PathBuf> = paths.iter().filter(|path| !path.exists()).collect();
    if let Some(first) = missing.first() {
        let (n, n_missing) = (paths.len(), missing.len());
        let message = format!("does not exist ({n_missing} of the {n} files that {pattern} names)");
        return Some(Err(Error::file(first, message)));
    }
    Some(Ok(paths))
}

/// A range of numbers in a name.
struct Range {
    /// Where its braces are.
    start: usize,
    end: usize,
    first: usize,
    last: usize,
    /// Digits that each number has at least.
    width: usize,
}

impl Range {
    fn first_in(name: &str) -> Option<Self> {
        let (start, _) =
            name.match_indices('{').find(|(start, _)| Self::at(name, *start).is_some())?;
        Self::at(name, start)
    }

    fn at(name: &str, start: usize) -> Option<Self> {
        let inside = name.get(start + 1..)?;
        let (inside, _) = inside.split_once('}')?;
        let (first, last) = inside.split_once("..")?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        let end = start + inside.len() + 2;
        Some(Self { start, end, first: number(first)?, last: number(last)?, width: first.len() })
    }

    fn names(&self, name: &str) -> Vec<String> {
        let (before, after) = (&name[..self.start], &name[self.end..]);
        let width = self.width;
        (self.first..=self.last).map(|number| format!("{before}{number:0width$}{after}")).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folders(names: &[&str]) -> Vec<String> {
        let files = names.iter().map(|name| ((*name).to_owned(), PathBuf::from(name))).collect();
        Shard::all(files).iter().map(Shard::folder).collect()
    }

    #[test]
    fn names_are_splits_where_all_are() {
        let hub = ["data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"];
        assert_eq!(folders(&hub), ["train/", "test/"]);
        assert_eq!(
            folders(&["imagenet-train-000.tar", "imagenet-val-000.tar"]),
            ["train/", "validation/"]
        );
        assert_eq!(folders(&["train/0.tar", "test/0.tar"]), ["train/", "test/"]);
        for names in
            [&["train-0.tar", "train-1.tar"][..], &["train-0.tar", "x.tar"], &["a-test.zip"]]
        {
            assert!(folders(names).iter().all(String::is_empty), "{names:?}");
        }
        assert_eq!(split_in("train-test/0.tar"), None);
        let shards = |names: &[&str]| {
            Shard::all(names.iter().map(|name| ((*name).to_owned(), PathBuf::from(name))).collect())
        };
        let all = shards(&["train-0.tar", "test-0.tar"]);
        let note = Shard::note(&all, &[None, Some(Split::Test)]).unwrap();
        assert!(note.contains("validation is taken from train, data.test is not used"), "{note}");
        // Of the test split no image is left.
        let note = Shard::note(&all, &[None]).unwrap();
        assert!(note.contains("validation and test are taken from train"), "{note}");
        let note = Shard::note(&shards(&["train.tar", "test.tar", "extra.tar"]), &[]).unwrap();
        assert!(note.contains("test may be a split") && note.contains("extra"), "{note}");
        assert_eq!(Shard::note(&shards(&["a.tar", "b.tar"]), &[]), None);
        let stems: Vec<_> =
            shards(&["a.tar", "a.zip"]).into_iter().map(|shard| shard.stem).collect();
        assert_eq!(stems, ["a.tar", "a.zip"]);
    }

    #[test]
    fn ranges_keep_the_width_of_their_first_number_and_multiply() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-008-0", "a-008-1", "a-009-0", "a-009-1", "a-010-0", "a-010-1"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names = |pattern: &str| {
            let pattern = dir.path().join(pattern).to_str().unwrap().to_owned();
            expanded(&pattern)
                .map(|paths| paths.map(|paths| paths.len()).map_err(|error| error.to_string()))
        };
        assert_eq!(names("a-{008..010}-{0..1}"), Some(Ok(6)));
        assert_eq!(names("a-008-0"), None);
        assert_eq!(names("a-{x..y}"), None);
        assert!(names("a-{9..8}").unwrap().unwrap_err().contains("ends before"));
        assert!(names("a-{0..9999999}").unwrap().unwrap_err().contains("million"));
        let missing = names("a-{008..012}-0").unwrap().unwrap_err();
        assert!(missing.contains("a-011-0: does not exist (2 of the 5 files"), "{missing}");
    }
}
