//! Files inside archives, read in place: tar as it is, and zip whose files are stored or deflated. Opening lists the names;
//! each file is read when it is needed, on any thread, to the size that the archive declares and to the limit of one file.
//! A damaged archive is an error: half of its files would be missing without a word.

mod tar;
mod zip;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use flate2::read::DeflateDecoder;

use super::decode::check_file_size;
use crate::error::{Error, Result};

/// The most files in one archive: beyond any data set on one machine, and bounds the memory of a listing.
const MAX_MEMBERS: usize = 100_000_000;

/// The most that a deflated file may expand to, as a multiple of its stored size, and a slack for small, empty pictures.
/// Deflate reaches 1,032; images are compressed themselves.
const MAX_RATIO: u64 = 64;
const SLACK: u64 = 16 << 20;

/// A kind of archive, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArchiveKind {
    Tar,
    Zip,
}

/// A file inside an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path in the archive, `/` between folders.
    pub(super) name: String,
    pub(super) location: Location,
}

/// Where a file is inside an archive.
#[derive(Debug, Clone)]
pub(super) struct Location {
    archive: Arc<Path>,
    /// Of its first stored byte.
    offset: u64,
    /// Stored bytes.
    stored: u64,
    /// Bytes of the file.
    size: u64,
    is_deflated: bool,
}

/// The files of an archive, in its order, and what in it cannot be read, each with the reason.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) files: Vec<Member>,
    pub(super) unreadable: Vec<(String, String)>,
}

impl ArchiveKind {
    /// The bytes at the start of a file that [`Self::of_start`] needs.
    pub(super) const START: u64 = 512;

    /// The kind of a file that begins with `start`.
    pub(super) fn of_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else {
            tar::is_header(start).then_some(Self::Tar)
        }
    }

    /// Whether files whose names end in `extension`, in lower case, are archives of some kind.
    pub(super) fn is_extension(extension: &str) -> bool {
        matches!(extension, "tar" | "zip")
    }
}

/// The files of the archive at `path`.
///
/// # Errors
/// An archive that cannot be read or is damaged.
pub(super) fn members(path: &Path, kind: ArchiveKind) -> Result<Members> {
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    let listed = match kind {
        ArchiveKind::Tar => tar::members(path, file),
        ArchiveKind::Zip => zip::members(path, file),
    };
    listed.map_err(|reason| Error::file(path, reason))
}

/// A path in an archive or a list with `/` between folders: without `.`, `..` and a root, which only say where to unpack.
pub(super) fn clean_name(name: &str) -> String {
    let parts: Vec<&str> =
        name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    parts.join("/")
}

impl Location {
    /// The bytes of the file, or why they cannot be read.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        check_file_size(self.size)?;
        if self.is_deflated
            && self.size > self.stored.saturating_mul(MAX_RATIO).saturating_add(SLACK)
        {
            let (size, stored) = (self.size, self.stored);
            return Err(format!(
                "declares {size} bytes in {stored} of deflate: unpack the archive"
            ));
        }
        let bytes = self.first(self.size.saturating_add(1))?;
        if bytes.len() as u64 != self.size {
            let (size, archive) = (self.size, self.archive.display());
            return Err(format!(
                "is damaged: it has {} of the {size} bytes that {archive} declares",
                if bytes.len() as u64 > self.size {
                    "more".to_owned()
                } else {
                    bytes.len().to_string()
                }
            ));
        }
        Ok(bytes)
    }

    /// At most the first `n` bytes of the file; `None` where they cannot be read.
    pub(super) fn start(&self, n: u64) -> Option<Vec<u8>> {
        self.first(n.min(self.size)).ok()
    }

    /// At most `n` bytes. Memory grows with what is there, not with what is declared.
    fn first(&self, n: u64) -> Result<Vec<u8>, String> {
        let cannot = |error: std::io::Error| format!("cannot be read: {error}");
        // Opened anew for each file, so that threads do not share a position.
        let mut file = File::open(&self.archive).map_err(cannot)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(cannot)?;
        let (mut bytes, stored) = (Vec::new(), file.take(self.stored));
        if self.is_deflated {
            let damaged = |error| format!("is damaged: {error} (deflate)");
            DeflateDecoder::new(stored).take(n).read_to_end(&mut bytes).map_err(damaged)?;
        } else {
            stored.take(n).read_to_end(&mut bytes).map_err(cannot)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::decode::MAX_FILE_BYTES;

    #[test]
    fn names_lose_what_only_says_where_to_unpack() {
        for (name, clean) in [
            ("./cats/a.png", "cats/a.png"),
            ("/cats//a.png", "cats/a.png"),
            ("../../etc/a.png", "etc/a.png"),
            ("a.png", "a.png"),
            ("./", ""),
        ] {
            assert_eq!(clean_name(name), clean);
        }
    }

    #[test]
    fn a_file_that_deflates_to_more_or_less_than_declared_is_damaged() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&[7; 100]).unwrap();
        let stored = encoder.finish().unwrap();
        std::fs::write(&path, &stored).unwrap();
        let read = |size| {
            let (archive, stored) = (Arc::from(path.as_path()), stored.len() as u64);
            Location { archive, offset: 0, stored, size, is_deflated: true }.read()
        };
        assert_eq!(read(100).unwrap(), [7; 100]);
        assert!(read(99).unwrap_err().contains("more of the 99"));
        assert!(read(101).unwrap_err().contains("100 of the 101"));
        assert!(read(MAX_FILE_BYTES + 1).unwrap_err().contains("larger"));
        assert!(read(MAX_FILE_BYTES).unwrap_err().contains("unpack"));
    }
}
