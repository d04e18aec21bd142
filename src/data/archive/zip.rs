//! The files of a zip archive, also beyond 4 GiB.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use ::zip::{CompressionMethod, ZipArchive};

use super::{Location, MAX_MEMBERS, Member, Members, clean_name};
use crate::data::names::escaped;

/// The files of the archive `file`, which is at `path`, or why they cannot be listed.
pub(super) fn members(path: &Path, file: File) -> Result<Members, String> {
    let damaged = |error: ::zip::result::ZipError| format!("is no whole zip archive: {error}");
    let mut reader = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let archive: Arc<Path> = Arc::from(path);
    let mut listed = Members::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    if reader.len() > MAX_MEMBERS {
        return Err(format!("holds more than {MAX_MEMBERS} files"));
    }
    for index in 0..reader.len() {
        let entry = reader.by_index_raw(index).map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        // Some programs on Windows write backslashes.
        let name = entry.name().map_or_else(|_| escaped(entry.name_raw()), |name| name.to_string());
        let name = match name.contains('/') {
            true => clean_name(&name),
            false => clean_name(&name.replace('\\', "/")),
        };
        if entry.is_symlink() {
            let reason = "is a symbolic link, which is not followed inside an archive";
            listed.unreadable.push((name, reason.to_owned()));
            continue;
        }
        let is_deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::DEFLATE => true,
            other => {
                let reason =
                    format!("is compressed with {other}, only deflate is read: unpack the archive");
                listed.unreadable.push((name, reason));
                continue;
            }
        };
        let Some(offset) = entry.data_start().filter(|_| !entry.encrypted()) else {
            listed.unreadable.push((name, "is encrypted: unpack the archive".to_owned()));
            continue;
        };
        let (stored, size) = (entry.compressed_size(), entry.size());
        let archive = Arc::clone(&archive);
        let location = Location { archive, offset, stored, size, is_deflated };
        // As unpacking would leave it: the last of files with one name.
        match places.get(&name) {
            Some(&place) => listed.files[place].location = location,
            None => {
                places.insert(name.clone(), listed.files.len());
                listed.files.push(Member { name, location });
            }
        }
    }
    Ok(listed)
}
