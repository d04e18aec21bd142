//! Image files named individually, outside any data set: the input of `reconstruct` and of a completion.

use std::path::PathBuf;

use super::content::Content;
use super::folder::Listing;
use super::report::unusable;
use crate::error::{Error, Result};

/// The images that paths name, and what was left out of the folders among them.
#[derive(Debug, Default)]
pub struct ImagePaths {
    /// Files that were named, and image files below named folders, in order.
    pub images: Vec<PathBuf>,
    /// What cannot be used and should be, one text per folder: broken links, pictures in unsupported formats.
    pub unusable: Vec<String>,
    /// What was skipped, one text each.
    pub notes: Vec<String>,
}

/// The files among `paths`, and the image files below the folders among them, sorted by path, by the rules of a data
/// set. A file that is named explicitly counts whatever its name.
///
/// # Errors
/// A path that does not exist, or a folder that holds no image file.
pub fn image_paths(paths: &[PathBuf]) -> Result<ImagePaths> {
    let mut all = ImagePaths::default();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        if !metadata.is_dir() {
            all.images.push(path.clone());
            continue;
        }
        let listing = Listing::of(path);
        if listing.found.is_empty() {
            let instead = listing.instead();
            let separator = if instead.is_empty() { "" } else { ": " };
            return Err(Error::file(path, format!("holds no image file{separator}{instead}")));
        }
        let of_folder = |text: String| format!("{}: {text}", path.display());
        if !listing.skipped.is_empty() || listing.unread.total() > 0 {
            all.unusable.push(of_folder(unusable(&listing.skipped, &listing.unread)));
        }
        all.notes.extend(listing.notes().into_iter().map(of_folder));
        all.images.extend(listing.found.into_iter().filter_map(|found| match found.content {
            Content::Disk(path) => Some(path),
            _ => None,
        }));
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_images_in_order_and_named_files_come_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.JPG", "notes.txt", "._b.png", ".c.png", "d.heic"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        for folder in [".ipynb_checkpoints", "@eaDir"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("a.png"), b"x").unwrap();
        }
        let notes = dir.path().join("notes.txt");
        let found = image_paths(&[notes.clone(), dir.path().to_path_buf()]).unwrap();
        assert_eq!(found.images, [notes, dir.path().join("a.JPG"), dir.path().join("b.png")]);
        assert!(found.unusable[0].contains("1 .heic"), "{found:?}");
        let said = found.notes.join("\n");
        assert!(said.contains("1 .txt") && said.contains(".c.png"), "{said}");
        assert!(image_paths(&[dir.path().join("none")]).is_err());
    }

    #[test]
    fn a_folder_of_pictures_that_are_not_read_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("d.heic"), b"x").unwrap();
        let message = image_paths(&[dir.path().to_path_buf()]).unwrap_err().to_string();
        assert!(message.contains("1 .heic") && message.contains("convert"), "{message}");
    }
}
