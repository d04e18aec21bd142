//! Where the entries of a zip archive lie (APPNOTE.TXT 6.3.10), as far as `torch.save` writes it: nothing compressed.
//! Sizes and offsets are compared with the length of the file before they are used.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use super::file::{number, read_at};

/// Why an archive cannot be read; the end of a message.
type Fault = String;

/// Most bytes of the directory of an archive: a hundred thousand entries.
const MOST_DIRECTORY: u64 = 16 << 20;

/// Most bytes of a comment after the directory.
const MOST_COMMENT: u64 = 65_535;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const END_64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const DIRECTORY_ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL_ENTRY: [u8; 4] = *b"PK\x03\x04";

/// An uncompressed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its bytes within the file.
    pub bytes: Range<u64>,
    /// CRC-32 of them; 0 where the writer computed none.
    pub crc: u32,
}

/// The entries of the archive in `file`, by name.
pub(super) fn entries(file: &File, length: u64) -> Result<BTreeMap<String, Entry>, Fault> {
    let (offset, size) = directory(file, length)?;
    if size > MOST_DIRECTORY || offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(damaged("its directory lies outside of the file"));
    }
    let bytes = read_at(file, offset..offset + size)?;
    let mut entries = BTreeMap::new();
    let mut rest = bytes.as_slice();
    while rest.starts_with(&DIRECTORY_ENTRY) {
        let (name, stored, after) = entry(rest)?;
        rest = after;
        let start = local_data(file, length, stored.offset)?;
        let end = start.checked_add(stored.size).filter(|end| *end <= length);
        let end = end.ok_or_else(|| damaged(&format!("{name} lies outside of the file")))?;
        if stored.method != 0 || stored.packed != stored.size {
            return Err(format!(
                "its entry {name} is compressed, which torch.save does not do (save it again)"
            ));
        }
        let entry = Entry { bytes: start..end, crc: stored.crc };
        if entries.insert(name.clone(), entry).is_some() {
            return Err(damaged(&format!("{name} appears twice")));
        }
    }
    Ok(entries)
}

/// Offset and size of the directory.
fn directory(file: &File, length: u64) -> Result<(u64, u64), Fault> {
    let from = length.saturating_sub(MOST_COMMENT + 22);
    let tail = read_at(file, from..length)?;
    let at = (0..=tail.len().saturating_sub(22)).rev().find(|at| tail[*at..].starts_with(&END));
    let at = at.ok_or_else(|| damaged("its end is missing (truncated?)"))?;
    let end = &tail[at..];
    let (size, offset) = (number(end, 12, 4), number(end, 16, 4));
    let locator = at.checked_sub(20).map(|at| &tail[at..at + 20]);
    match locator.filter(|locator| locator.starts_with(&END_64_LOCATOR)) {
        Some(locator) => {
            let at = number(locator, 8, 8)
                .filter(|at| at.checked_add(56).is_some_and(|end| end <= length));
            let at = at.ok_or_else(|| damaged("its end lies outside of the file"))?;
            let end = read_at(file, at..at + 56)?;
            match (end.starts_with(&END_64), number(&end, 48, 8), number(&end, 40, 8)) {
                (true, Some(offset), Some(size)) => Ok((offset, size)),
                _ => Err(damaged("its end is not where it says")),
            }
        }
        None => offset.zip(size).ok_or_else(|| damaged("its end is cut")),
    }
}

/// What the directory says of an entry.
struct Stored {
    method: u64,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

/// The entry at the start of `bytes`, and the bytes after it.
fn entry(bytes: &[u8]) -> Result<(String, Stored, &[u8]), Fault> {
    let cut = || damaged("its directory is cut");
    let field = |at, width| number(bytes, at, width).ok_or_else(cut);
    let (name, extra, comment) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
    let (name_end, extra_end) = (46 + name as usize, 46 + (name + extra) as usize);
    let name = String::from_utf8_lossy(bytes.get(46..name_end).ok_or_else(cut)?).into_owned();
    let mut stored = Stored {
        method: field(10, 2)?,
        crc: field(16, 4)? as u32,
        packed: field(20, 4)?,
        size: field(24, 4)?,
        offset: field(42, 4)?,
    };
    let mut wide = wide_fields(bytes.get(name_end..extra_end).ok_or_else(cut)?);
    for value in [&mut stored.size, &mut stored.packed, &mut stored.offset] {
        if *value == u64::from(u32::MAX) {
            *value = wide.next().ok_or_else(cut)?;
        }
    }
    let rest = bytes.get(extra_end + comment as usize..).ok_or_else(cut)?;
    Ok((name, stored, rest))
}

/// The 64-bit fields of an entry, which hold what does not fit into 32 bits.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    const ZIP_64: u64 = 1;
    let mut fields: &[u8] = &[];
    while let (Some(id), Some(size)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(field) = extra.get(4..4 + size as usize) else { break };
        if id == ZIP_64 {
            fields = field;
            break;
        }
        extra = &extra[4 + size as usize..];
    }
    fields.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// Where the bytes of the entry at `offset` begin: its local header has a name and fields of its own length.
fn local_data(file: &File, length: u64, offset: u64) -> Result<u64, Fault> {
    let outside = || damaged("an entry lies outside of the file");
    let end = offset.checked_add(30).filter(|end| *end <= length).ok_or_else(outside)?;
    let header = read_at(file, offset..end)?;
    match (header.starts_with(&LOCAL_ENTRY), number(&header, 26, 2), number(&header, 28, 2)) {
        (true, Some(name), Some(extra)) => Ok(end + name + extra),
        _ => Err(damaged("an entry is not where its directory says")),
    }
}

fn damaged(what: &str) -> Fault {
    format!("it is a damaged zip archive: {what}")
}
