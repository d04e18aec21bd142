//! Where the bytes of a file are: on disk, in the binary, inside an archive or in a row of a table. Reading is bounded, and
//! says why it fails as the rest of a sentence that starts with the file's name.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use super::archive::Location;
use super::decode::{Header, read_bounded};
use super::table::Row;

/// The bytes of one file.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Disk(PathBuf),
    Embedded(&'static [u8]),
    Archived(Location),
    Row(Row),
}

impl Content {
    /// All bytes.
    pub(super) fn read(&self) -> Result<Cow<'static, [u8]>, String> {
        match self {
            Self::Disk(path) => read_bounded(path).map(Cow::Owned),
            Self::Embedded(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::Archived(location) => location.read().map(Cow::Owned),
            Self::Row(row) => row.read().map(Cow::Owned),
        }
    }

    /// What orders contents as they are stored, where reading them in another order is slow.
    pub(super) fn place(&self) -> (usize, usize) {
        match self {
            Self::Row(row) => row.place(),
            Self::Disk(_) | Self::Embedded(_) | Self::Archived(_) => (0, 0),
        }
    }

    /// At most the first `n` bytes; `None` where they cannot be read.
    pub(super) fn start(&self, n: u64) -> Option<Vec<u8>> {
        let mut start = Vec::new();
        match self {
            Self::Disk(path) => {
                // The path's metadata first: opening a pipe would block until there is a writer.
                let is_regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
                let file = is_regular.then(|| File::open(path).ok()).flatten()?;
                file.take(n).read_to_end(&mut start).ok()?;
            }
            Self::Archived(location) => start = location.start(n)?,
            Self::Embedded(_) | Self::Row(_) => {
                start = self.read().ok()?.iter().take(n as usize).copied().collect();
            }
        }
        Some(start)
    }

    /// What its header says, if it is an image; `None` where that cannot be read.
    pub(super) fn header(&self) -> Option<Header> {
        match self {
            Self::Disk(path) => Header::of_file(path),
            _ => Header::of(Cursor::new(self.read().ok()?)),
        }
    }
}
