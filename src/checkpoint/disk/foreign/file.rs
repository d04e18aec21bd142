//! Reading parts of a file, never more than it holds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

/// The bytes of `range`, which the caller has compared with the length of the file.
pub(super) fn read_at(mut file: &File, range: Range<u64>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(range.start))
        .and_then(|_| file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes));
    match read {
        Ok(n) if n as u64 == range.end.saturating_sub(range.start) => Ok(bytes),
        Ok(_) => Err("it ends early (truncated?)".to_owned()),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

/// The little-endian number of `width` bytes at `at`; `None` beyond the end.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
