//! The directory of a TIFF's first page: its tags and their values, in the requested type. Everything is read in place,
//! so that a wrong length costs nothing.

use super::{damaged, unusual};

/// Location of a tag in the file.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Offset of its value, or of the offset of its value.
    at: usize,
}

/// The tags of a page.
pub(super) struct Tags<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// Whether offsets and counts have 64 bits (BigTIFF).
    is_big: bool,
    entries: Vec<Entry>,
}

impl<'a> Tags<'a> {
    /// Reads the list of tags, not their values.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut tags = Self {
            bytes,
            big_endian: bytes.starts_with(b"MM"),
            is_big: false,
            entries: Vec::new(),
        };
        tags.is_big = tags.word(2, 2) == Some(43);
        // Sizes of an entry, of the number of entries and of an offset.
        let (n_bytes, n_count, n_offset) = if tags.is_big { (20, 8, 8) } else { (12, 2, 4) };
        let directory = tags.word(if tags.is_big { 8 } else { 4 }, n_offset);
        let directory = directory.and_then(|at| usize::try_from(at).ok());
        let (Some(at), Some(n)) = (directory, directory.and_then(|at| tags.word(at, n_count)))
        else {
            return Err(damaged("its list of tags is not in it"));
        };
        for i in 0..n.min(usize::from(u16::MAX) as u64) as usize {
            let at = at + n_count + i * n_bytes;
            let (Some(tag), Some(kind)) = (tags.word(at, 2), tags.word(at + 2, 2)) else {
                return Err(damaged("its list of tags is cut"));
            };
            let (count, at) = (tags.word(at + 4, n_offset), at + 4 + n_offset);
            let count = count.ok_or_else(|| damaged("its list of tags is cut"))?;
            tags.entries.push(Entry { tag: tag as u16, kind: kind as u16, count, at });
        }
        Ok(tags)
    }

    pub(super) fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    pub(super) fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|entry| entry.tag == tag)
    }

    /// The bytes of a tag's value, and its type; `None` where the tag or part of its value is missing.
    pub(super) fn raw(&self, tag: u16) -> Option<(&'a [u8], u16)> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag)?;
        let n = entry.count.checked_mul(size_of_kind(entry.kind)?)?;
        let n = usize::try_from(n).ok()?;
        let inline = if self.is_big { 8 } else { 4 };
        let at = match n <= inline {
            true => entry.at,
            false => usize::try_from(self.word(entry.at, inline)?).ok()?,
        };
        Some((self.bytes.get(at..at.checked_add(n)?)?, entry.kind))
    }

    /// The integers of a tag; none where there is no such tag.
    pub(super) fn many<T: TryFrom<u64>>(&self, tag: u16) -> Result<Vec<T>, String> {
        if !self.has(tag) {
            return Ok(Vec::new());
        }
        let unreadable = || damaged(format!("its tag {tag} cannot be read"));
        let (data, kind) = self.raw(tag).ok_or_else(unreadable)?;
        // Bytes; 16, 32 and 64 bits; offsets.
        let size = match kind {
            1 => 1,
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            _ => return Err(unreadable()),
        };
        let numbers = data.chunks_exact(size).map(|bytes| T::try_from(self.join(bytes)).ok());
        numbers.collect::<Option<_>>().ok_or_else(unreadable)
    }

    /// The first number of a tag: an array in place of a number counts as its first element, as in other readers.
    pub(super) fn one<T: TryFrom<u64>>(&self, tag: u16) -> Result<Option<T>, String> {
        Ok(self.many(tag)?.into_iter().next())
    }

    /// A required number.
    pub(super) fn required(&self, tag: u16, name: &str) -> Result<u32, String> {
        self.one(tag)?.ok_or_else(|| damaged(format!("it has no {name}")))
    }

    /// The value of a tag that must be equal for all samples; `None` without the tag.
    pub(super) fn same_for_all(&self, tag: u16, name: &str) -> Result<Option<u16>, String> {
        let values: Vec<u16> = self.many(tag)?;
        let first = values.first().copied();
        match values.iter().all(|&value| Some(value) == first) {
            true => Ok(first),
            false => Err(unusual(&format!("of samples of different {name} ({values:?})"))),
        }
    }

    /// Numbers of any type; none where they cannot be read.
    pub(super) fn reals(&self, tag: u16) -> Vec<f64> {
        let Some((data, kind)) = self.raw(tag) else { return Vec::new() };
        let Some(size) = size_of_kind(kind) else { return Vec::new() };
        let values = data.chunks_exact(size as usize).map(|bytes| {
            let bits = self.join(bytes);
            match kind {
                // Fractions: numerator and denominator.
                5 | 10 => {
                    let (of, by) = bytes.split_at(4);
                    let part = |bytes| match kind {
                        5 => self.join(bytes) as f64,
                        _ => f64::from(self.join(bytes) as u32 as i32),
                    };
                    part(of) / part(by)
                }
                6 => f64::from(bits as u8 as i8),
                8 => f64::from(bits as u16 as i16),
                9 => f64::from(bits as u32 as i32),
                11 => f64::from(f32::from_bits(bits as u32)),
                12 => f64::from_bits(bits),
                17 => bits as i64 as f64,
                _ => bits as f64,
            }
        });
        values.collect()
    }

    /// Exactly `N` finite numbers.
    pub(super) fn real_array<const N: usize>(&self, tag: u16) -> Option<[f32; N]> {
        let found: Vec<f32> = self.reals(tag).into_iter().map(|n| n as f32).collect();
        let array: [f32; N] = found.try_into().ok()?;
        array.iter().all(|n| n.is_finite()).then_some(array)
    }

    /// The integer in `n` bytes at `at`.
    fn word(&self, at: usize, n: usize) -> Option<u64> {
        self.bytes.get(at..at.checked_add(n)?).map(|bytes| self.join(bytes))
    }

    fn join(&self, bytes: &[u8]) -> u64 {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        match self.big_endian {
            true => bytes.iter().fold(0, join),
            false => bytes.iter().rev().fold(0, join),
        }
    }
}

/// Bytes of a value of a type; `None` for an unknown one.
fn size_of_kind(kind: u16) -> Option<u64> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}
