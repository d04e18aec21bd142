//! Which folders are classes and which are splits, inferred from the names of all images alone.
//!
//! - A first-level folder is a class, however deep an image lies below it; without folders there are no classes.
//! - If every first-level folder is named like a split (`train`, `val`, `Testing`, `test_set`, `train2017`, …), one of
//!   them a training split and at least one not, they are the splits, and the classes are the folders in them.
//! - A single folder around all of this (`dataset/train`, or `images/cats` and `images/dogs`) is ignored, if it holds
//!   only folders, which are splits or at least two.
//! - An image beside folders that are classes or splits has no class.

use std::collections::BTreeSet;

use super::Split;
use super::report::listed;

/// What the path of an image implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The split of its folder. `None` for training images, from which others may be held out.
    pub(super) published: Option<Split>,
    /// Its class; empty where there are none.
    pub(super) class: String,
}

/// The place of each name, or why it has none, as the rest of a sentence; and notes for the user.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    pub(super) places: Vec<Result<Place, String>>,
    pub(super) notes: Vec<String>,
}

/// The contents of one folder.
struct Level<'a> {
    has_images: bool,
    folders: BTreeSet<&'a str>,
}

impl<'a> Level<'a> {
    /// The contents of `prefix`, which is empty or ends in `/`.
    fn of(names: &[&'a str], prefix: &str) -> Self {
        let mut level = Self { has_images: false, folders: BTreeSet::new() };
        for rest in names.iter().filter_map(|name| name.strip_prefix(prefix)) {
            match rest.split_once('/') {
                Some((folder, _)) => {
                    level.folders.insert(folder);
                }
                None => level.has_images = true,
            }
        }
        level
    }

    fn only_folder(&self) -> Option<&'a str> {
        let is_only = !self.has_images && self.folders.len() == 1;
        self.folders.first().copied().filter(|_| is_only)
    }
}

/// Arranges images by their relative paths.
pub(super) fn arrange(names: &[&str]) -> Arrangement {
    let (splits, prefix) = split_folders(names);
    if let Some(level) = splits {
        return in_splits(names, &prefix, &level);
    }
    in_classes(names, &prefix)
}

/// Arranges images that have classes elsewhere: folders may be splits, but are no classes.
pub(super) fn arrange_splits(names: &[&str]) -> Arrangement {
    let (splits, prefix) = split_folders(names);
    let Some(level) = splits else {
        let place = Place { published: None, class: String::new() };
        return Arrangement { places: vec![Ok(place); names.len()], notes: Vec::new() };
    };
    let starts: Vec<(String, Option<Split>)> = (level.folders.iter())
        .map(|folder| (format!("{prefix}{folder}/"), held_out_of(folder)))
        .collect();
    let place = |name: &&str| match starts.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, published)) => Ok(Place { published: *published, class: String::new() }),
        None => Err(BESIDE_SPLITS.to_owned()),
    };
    let places = names.iter().map(place).collect();
    Arrangement { places, notes: vec![note_of_splits(&prefix, &level)] }
}

/// The folders that are splits, if there are any, and the prefix of what is arranged: of these folders or of the classes.
fn split_folders<'a>(names: &[&'a str]) -> (Option<Level<'a>>, String) {
    let mut prefix = String::new();
    let last = loop {
        let level = Level::of(names, &prefix);
        if are_splits(&level.folders) {
            return (Some(level), prefix);
        }
        match level.only_folder() {
            Some(folder) => prefix = format!("{prefix}{folder}/"),
            None => break level,
        }
    };
    // A single class whose images lie deeper is still one class.
    let looks_through = !last.has_images && last.folders.len() > 1;
    if !looks_through {
        prefix.clear();
    }
    (None, prefix)
}

/// The split that a folder is named after: a split name as in Hugging Face's datasets, alone or as in `test_set` and
/// `val2017`.
pub(super) fn split_of(folder: &str) -> Option<Split> {
    let lower = folder.to_lowercase();
    let mut word = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    for ending in ["set", "data", "images"] {
        word = word.strip_suffix(ending).unwrap_or(word);
    }
    match word.trim_end_matches(['_', '-', ' ', '.']) {
        "train" | "training" => Some(Split::Train),
        "validation" | "validate" | "valid" | "val" | "dev" => Some(Split::Validation),
        "test" | "testing" | "eval" | "evaluation" => Some(Split::Test),
        _ => None,
    }
}

/// The split that a folder is, validation or test; `None` for training images.
fn held_out_of(folder: &str) -> Option<Split> {
    split_of(folder).filter(|split| *split != Split::Train)
}

fn are_splits(folders: &BTreeSet<&str>) -> bool {
    let splits: Vec<_> = folders.iter().map(|folder| split_of(folder)).collect();
    let has = |split| splits.contains(&Some(split));
    !splits.contains(&None) && has(Split::Train) && (has(Split::Validation) || has(Split::Test))
}

/// The folders below `prefix` are classes.
fn in_classes(names: &[&str], prefix: &str) -> Arrangement {
    let Level { folders, .. } = Level::of(names, prefix);
    let place = |name: &&str| {
        let rest = name.strip_prefix(prefix).unwrap_or(name);
        match rest.split_once('/') {
            Some((class, _)) => Ok(Place { published: None, class: class.to_owned() }),
            None if folders.is_empty() => Ok(Place { published: None, class: String::new() }),
            None => Err("lies beside the class folders".to_owned()),
        }
    };
    let places = names.iter().map(place).collect();
    let mut notes = Vec::new();
    if !prefix.is_empty() {
        notes.push(format!("the classes are the folders in {prefix}, the only one there is"));
    }
    notes.extend(split_that_is_a_class(&folders));
    Arrangement { places, notes }
}

/// The note where a class is named like a split.
fn split_that_is_a_class(folders: &BTreeSet<&str>) -> Option<String> {
    let (splits, others): (Vec<&str>, Vec<&str>) =
        folders.iter().partition(|folder| split_of(folder).is_some());
    let names = |folders: &[&str]| {
        let names: Vec<String> = folders.iter().map(|folder| format!("{folder}/")).collect();
        listed(&names, ", ")
    };
    if splits.is_empty() || folders.len() == 1 {
        return None;
    }
    let reason = if others.is_empty() {
        "there is no train/ beside a val/ or test/".to_owned()
    } else {
        format!("beside folders that are not named after a split: {}", names(&others))
    };
    Some(format!("taken as classes, not as splits: {} ({reason})", names(&splits)))
}

/// Why an image has no place where folders are splits.
const BESIDE_SPLITS: &str = "lies beside the folders of the splits";

/// The folders of `level`, below `prefix`, are splits; classes are the folders in them.
fn in_splits(names: &[&str], prefix: &str, level: &Level<'_>) -> Arrangement {
    // Where the images of each split start; some archives hold `test_set/test_set`.
    let starts: Vec<(String, Option<Split>)> = level
        .folders
        .iter()
        .map(|folder| {
            let start = format!("{prefix}{folder}/");
            let inner = Level::of(names, &start).only_folder();
            let start = match inner.filter(|inner| inner.eq_ignore_ascii_case(folder)) {
                Some(inner) => format!("{start}{inner}/"),
                None => start,
            };
            (start, held_out_of(folder))
        })
        .collect();
    let has_classes = starts.iter().any(|(start, _)| !Level::of(names, start).folders.is_empty());
    let place = |name: &&str| {
        let inside = starts.iter().find_map(|(start, published)| {
            name.strip_prefix(start.as_str()).map(|rest| (start, *published, rest))
        });
        let Some((start, published, rest)) = inside else {
            return Err(BESIDE_SPLITS.to_owned());
        };
        match rest.split_once('/') {
            Some((class, _)) => Ok(Place { published, class: class.to_owned() }),
            None if !has_classes => Ok(Place { published, class: String::new() }),
            None => Err(format!("lies in {start} and in no class folder there")),
        }
    };
    let places = names.iter().map(place).collect();
    Arrangement { places, notes: vec![note_of_splits(prefix, level)] }
}

fn note_of_splits(prefix: &str, level: &Level<'_>) -> String {
    let folders: Vec<String> =
        level.folders.iter().map(|folder| format!("{prefix}{folder}/")).collect();
    let has = |split| level.folders.iter().any(|folder| split_of(folder) == Some(split));
    let rest = taken_from_train(has(Split::Validation), has(Split::Test));
    format!("folders taken as splits, not as classes: {} ({rest})", listed(&folders, ", "))
}

/// What published splits mean for the images that are held out otherwise.
pub(super) fn taken_from_train(has_validation: bool, has_test: bool) -> &'static str {
    match (has_validation, has_test) {
        (true, true) => "data.validation and data.test are not used",
        (true, false) => "test is taken from train, data.validation is not used",
        (false, true) => "validation is taken from train, data.test is not used",
        (false, false) => {
            "no image of a held-out one can be used: validation and test are taken from train"
        }
    }
}
