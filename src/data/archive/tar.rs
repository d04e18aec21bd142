//! The files of a tar archive: ustar, GNU and pax headers. Hard links are the files that they name.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use ::tar::{Archive, EntryType};

use super::{Location, MAX_MEMBERS, Member, Members, clean_name};
use crate::data::names::escaped;

/// Headers and files begin at multiples of it, and archives end at one.
const BLOCK: u64 = 512;
/// Offset of the magic number in a header.
const MAGIC: usize = 257;

/// Whether `start` is the header of an archive's first file.
pub(super) fn is_header(start: &[u8]) -> bool {
    start.get(MAGIC..MAGIC + 5) == Some(b"ustar")
}

/// The files of the archive `file`, which is at `path`, or why they cannot be listed.
pub(super) fn members(path: &Path, file: File) -> Result<Members, String> {
    let length = file.metadata().map_err(|error| format!("cannot be read: {error}"))?.len();
    let archive: Arc<Path> = Arc::from(path);
    let mut listed = Members::default();
    // Of each name its last file, as unpacking in order would leave it.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut reader = Archive::new(BufReader::new(file));
    // Archives that were written one after the other into one file.
    reader.set_ignore_zeros(true);
    let damaged = |error: std::io::Error, n: usize| {
        format!("is damaged after {n} files: {error} (get it again, or unpack what there is)")
    };
    let entries = reader.entries_with_seek().map_err(|error| damaged(error, 0))?;
    for entry in entries {
        let entry = entry.map_err(|error| damaged(error, listed.files.len()))?;
        let name = clean_name(&escaped(&entry.path_bytes()));
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let location = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(format!(
                        "is cut off in {name}, after {} whole files (get it again, or unpack what there is)",
                        listed.files.len()
                    ));
                }
                let archive = Arc::clone(&archive);
                Location { archive, offset, stored: size, size, is_deflated: false }
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().map(|target| clean_name(&escaped(&target)));
                let target = target.unwrap_or_default();
                match places.get(&target) {
                    Some(&place) => listed.files[place].location.clone(),
                    None => {
                        let reason = format!("is a link to {target}, which is not in the archive");
                        listed.unreadable.push((name, reason));
                        continue;
                    }
                }
            }
            EntryType::Symlink => {
                let reason = "is a symbolic link, which is not followed inside an archive";
                listed.unreadable.push((name, reason.to_owned()));
                continue;
            }
            EntryType::GNUSparse => {
                let reason = "is stored as a sparse file: unpack the archive";
                listed.unreadable.push((name, reason.to_owned()));
                continue;
            }
            // Folders, devices and headers of the archive itself.
            _ => continue,
        };
        if listed.files.len() >= MAX_MEMBERS {
            return Err(format!("holds more than {MAX_MEMBERS} files"));
        }
        match places.get(&name) {
            Some(&place) => listed.files[place].location = location,
            None => {
                places.insert(name.clone(), listed.files.len());
                listed.files.push(Member { name, location });
            }
        }
    }
    if length % BLOCK != 0 {
        let n = listed.files.len();
        return Err(format!(
            "is cut off after {n} whole files: its {length} bytes are no multiple of {BLOCK} (get it again, or unpack \
             what there is)"
        ));
    }
    Ok(listed)
}
