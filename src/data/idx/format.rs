//! One IDX file: a big-endian header (magic number, counts), then raw bytes.

use std::path::Path;

use crate::data::decode::MAX_SIDE;
use crate::data::packed::{MAX_PACKED_BYTES, check_ratio, read_limited};
use crate::error::{Error, Result};

/// Unsigned bytes, three dimensions: count, rows, columns.
pub(super) const IMAGES_MAGIC: u32 = 0x0803;
/// Unsigned bytes, one dimension: count.
pub(super) const LABELS_MAGIC: u32 = 0x0801;

/// The dimensions and the bytes of one IDX file. Every size is checked before memory is allocated for it.
pub(super) fn read_idx<const RANK: usize>(
    path: &Path,
    magic: u32,
) -> Result<([usize; RANK], Vec<u8>)> {
    let header_size = 4 * (RANK + 1);
    let header = read_limited(path, header_size as u64 - 1)?;
    if header.len() < header_size {
        let message =
            format!("is truncated: {} bytes, its header alone has {header_size}", header.len());
        return Err(Error::file(path, message));
    }
    let mut words = header
        .chunks_exact(4)
        .map(|word| word.iter().fold(0u32, |number, &byte| number << 8 | u32::from(byte)));
    let found = words.next().unwrap_or_default();
    if found != magic {
        let message = format!(
            "is not an IDX file of this kind: it starts with {found:#010x}, expected {magic:#010x}"
        );
        return Err(Error::file(path, message));
    }
    let mut dims = [0usize; RANK];
    let mut total = 1u64;
    for (axis, (dim, word)) in dims.iter_mut().zip(words).enumerate() {
        let limit = if axis == 0 { u32::MAX } else { MAX_SIDE };
        if word == 0 || word > limit {
            let message = format!("declares {word} along axis {axis}; 1 to {limit} are allowed");
            return Err(Error::file(path, message));
        }
        *dim = word as usize;
        // Below 2^32 * 2^14 * 2^14.
        total *= u64::from(word);
    }
    if total > MAX_PACKED_BYTES {
        let limit = MAX_PACKED_BYTES >> 20;
        let message = format!("declares {total} bytes of data, more than the {limit} MiB allowed");
        return Err(Error::file(path, message));
    }
    check_ratio(path, total)?;
    let mut bytes = read_limited(path, header_size as u64 + total)?;
    bytes.drain(..header_size);
    if bytes.len() as u64 != total {
        let (verb, found) = if (bytes.len() as u64) < total {
            ("is truncated", format!("it holds {}", bytes.len()))
        } else {
            ("is too long", "it holds more".to_string())
        };
        let message = format!("{verb}: its header declares {total} bytes of data, {found}");
        return Err(Error::file(path, message));
    }
    Ok((dims, bytes))
}
