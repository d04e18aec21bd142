//! Finding images in a folder and telling their classes from their paths. It reads names, never content.
//!
//! The rules: the first-level sub-folder is the class, however deep a file lies below it; without sub-folders
//! that hold images there are no classes. An image beside class folders has no class, so it is skipped and
//! counted. Symbolic links are followed; a loop of them is skipped and counted. Names that start with a dot
//! and files without an image extension are ignored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::report::Skip;

/// Extensions of files that are taken for images, in lower case; any case matches.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether the name of `path` ends as an image's does. Says nothing about the content.
pub fn is_image_path(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    IMAGE_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// A file found: its path relative to the root with `/` between folders, and where it is.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Every image file below `root`, sorted by name, and what could not be walked.
pub(super) fn walk(root: &Path) -> (Vec<Found>, Vec<Skip>) {
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    let entries = WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path())) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() || !is_image_path(entry.path()) => {}
            Ok(entry) => {
                let path = entry.into_path();
                found.push(Found { name: relative_name(root, &path), path });
            }
            Err(error) => {
                let path = error.path().unwrap_or(root);
                if path != root && is_hidden(path) {
                    continue;
                }
                let name = relative_name(root, path);
                if let Some(ancestor) = error.loop_ancestor() {
                    let ancestor = relative_name(root, ancestor);
                    let reason = format!("is a link back to `{ancestor}/`, a loop");
                    skipped.push(Skip::new(name, reason));
                } else if path.is_dir() || is_image_path(path) {
                    let cause = error.io_error().map_or(error.to_string(), ToString::to_string);
                    skipped.push(Skip::new(name, format!("cannot be read: {cause}")));
                }
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    (found, skipped)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// `path` below `root` with forward slashes on every system: the name that order and class come from.
fn relative_name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> =
        relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    if parts.is_empty() { ".".to_string() } else { parts.join("/") }
}

/// The class of the image called `name`, if it lies in a sub-folder.
pub(super) fn class_of(name: &str) -> Option<&str> {
    name.split_once('/').map(|(class, _)| class)
}

/// The classes of these names, sorted; empty if no name lies in a sub-folder.
pub(super) fn classes_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let classes: BTreeSet<&str> = names.filter_map(class_of).collect();
    classes.into_iter().map(str::to_string).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_first_level_folders_and_extensions_match_in_any_case() {
        let names = ["b/x.png", "a/deep/er/y.png", "root.png", "b/z.png"];
        assert_eq!(classes_of(names.into_iter()), ["a", "b"]);
        assert!(classes_of(["x.png", "y.png"].into_iter()).is_empty());
        assert!(is_image_path(Path::new("a/B.JPeG")) && is_image_path(Path::new("x.TIF")));
        assert!(!is_image_path(Path::new("png")) && !is_image_path(Path::new("x.png.txt")));
    }
}
