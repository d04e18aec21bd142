//! Image files named one by one, outside any data set: what `reconstruct` and a completion are given.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::is_image_path;
use crate::error::{Error, Result};

/// The files among `paths`, and the image files below the folders among them in order of their path. A file
/// that is named counts whatever it is called.
///
/// # Errors
/// A path that does not exist, or a folder that holds no image file.
pub fn image_paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let entries = WalkDir::new(path).follow_links(true).sort_by_file_name();
        let files = entries.into_iter().filter_map(std::result::Result::ok);
        let files = files.filter(|entry| entry.file_type().is_file());
        found.extend(files.map(|entry| entry.into_path()).filter(|path| is_image_path(path)));
        if found.len() == before {
            return Err(Error::file(path, "holds no image file"));
        }
    }
    Ok(found)
}

/// Width and height of the image in a file as it is stored, or `None` where the header cannot be read.
pub fn pixel_size(path: impl AsRef<Path>) -> Option<[usize; 2]> {
    let reader = image::ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some([width as usize, height as usize])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_images_in_order_and_named_files_come_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.JPG", "notes.txt"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        let notes = dir.path().join("notes.txt");
        let found = image_paths(&[notes.clone(), dir.path().to_path_buf()]).unwrap();
        assert_eq!(found, [notes, dir.path().join("a.JPG"), dir.path().join("b.png")]);
        assert!(image_paths(&[dir.path().join("none")]).is_err());
    }
}
