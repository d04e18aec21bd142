//! What `data.path` names: a folder, archives, tables, a list, or what is inside the binary; by what is there and how it
//! begins, never by a name alone.

use std::path::{Path, PathBuf};

use crate::data::archive::ArchiveKind;
use crate::data::content::Content;
use crate::data::idx::IdxSet;
use crate::data::{EMBEDDED_NOTO_EMOJI, shards, table};
use crate::error::{Error, Result};

/// What `data.path` names. Files have the names by which they are shards of one data set.
pub(super) enum Named {
    Embedded,
    Folder(PathBuf),
    /// One of several sets in its folder.
    RawSet(IdxSet),
    Archives(Vec<(String, PathBuf)>),
    Tables(Vec<(String, PathBuf)>),
    List(PathBuf),
}

impl Named {
    pub(super) fn of(path: &str) -> Result<Self> {
        if let Some(name) = path.strip_prefix("embedded:") {
            if path == EMBEDDED_NOTO_EMOJI {
                return Ok(Self::Embedded);
            }
            let message = format!("no embedded data set is called `{name}` (there is noto-emoji)");
            return Err(Error::invalid(message));
        }
        let root = Path::new(path);
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Folder(root.to_owned())),
            Ok(metadata) if !metadata.is_file() => {
                Err(Error::file(root, "is neither a folder nor a regular file"))
            }
            Ok(_) => Self::of_files(vec![root.to_owned()]),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                match (IdxSet::named(root), shards::expanded(path)) {
                    (Some(set), _) => Ok(Self::RawSet(set)),
                    (None, Some(files)) => Self::of_files(files?),
                    (None, None) => Err(Error::file(root, not_there(root))),
                }
            }
            Err(error) => match IdxSet::named(root) {
                Some(set) => Ok(Self::RawSet(set)),
                None => Err(Error::io("read", root, error)),
            },
        }
    }

    /// Files that must all be of the kind of the first.
    fn of_files(files: Vec<PathBuf>) -> Result<Self> {
        let Some(first) = files.first().cloned() else {
            return Err(Error::invalid("data.path names no file"));
        };
        let start = Content::Disk(first.clone()).start(ArchiveKind::START).unwrap_or_default();
        let common = common_folder(&files);
        let name = |path: PathBuf| {
            let below = path.strip_prefix(&common).unwrap_or(&path);
            (below.to_string_lossy().replace('\\', "/"), path)
        };
        let is_one = files.len() == 1;
        let files = files.into_iter().map(name).collect();
        if ArchiveKind::of_start(&start).is_some() {
            return Ok(Self::Archives(files));
        }
        if table::is_table(&start) {
            return Ok(Self::Tables(files));
        }
        match what_else(&start) {
            Some(what) => Err(Error::file(&first, what)),
            None if is_one => Ok(Self::List(first)),
            None => {
                Err(Error::file(&first, "is neither an archive (tar, zip) nor a table (Parquet)"))
            }
        }
    }
}

/// The deepest folder that all files are below.
fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    while !files.iter().all(|file| file.starts_with(folder)) {
        folder = folder.parent().unwrap_or(Path::new(""));
    }
    folder.to_owned()
}

/// What a file that begins with `start` is, if it is no text, and what to do.
fn what_else(start: &[u8]) -> Option<&'static str> {
    const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];
    if COMPRESSED.iter().any(|magic| start.starts_with(magic)) {
        return Some(
            "is compressed as a whole, so that no image can be read alone: decompress it (gunzip, zstd -d, xz -d, \
             bunzip2) to a .tar file, which is read as it is",
        );
    }
    if start.starts_with(b"7z\xbc\xaf") || start.starts_with(b"Rar!") {
        return Some("is an archive of a kind that is not read (tar and zip are): unpack it");
    }
    if image::guess_format(start).is_ok() {
        return Some(
            "is one image; data.path is the folder, archive, table or list that holds many",
        );
    }
    let is_text = !start.is_empty() && !start.contains(&0);
    (!is_text).then_some(
        "is none of what data.path may name: a folder, an archive (tar, zip), a table (Parquet), or a text file that \
         lists images",
    )
}

/// The message for a folder that does not exist.
fn not_there(root: &Path) -> String {
    let what = match std::fs::symlink_metadata(root) {
        Ok(_) => "is a broken link".to_owned(),
        Err(_) => "does not exist".to_owned(),
    };
    let place = match std::path::absolute(root) {
        Ok(path) if root.is_relative() => format!(
            ": looked for {}, as relative paths, also those in recipes, start at the working directory",
            path.display()
        ),
        _ => String::new(),
    };
    format!("{what}{place} (name the folder with --data, or take {EMBEDDED_NOTO_EMOJI})")
}
