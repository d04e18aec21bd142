//! SHA-256 over named values, each part preceded by its length, so that no two contents hash the same bytes. Lengths
//! are u64 and values little-endian, so a digest is the same on every machine.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest as _, Sha256};

/// Values of a tensor to be written.
#[derive(Debug, Clone, Copy)]
pub(in crate::checkpoint) enum Values<'a> {
    F32(&'a [f32]),
    /// The bits of 16-bit floats.
    F16(&'a [u16]),
    U16(&'a [u16]),
    U8(&'a [u8]),
}

impl Values<'_> {
    /// The type's name in safetensors.
    pub(in crate::checkpoint) fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::F16(_) => "F16",
            Self::U16(_) => "U16",
            Self::U8(_) => "U8",
        }
    }

    /// Bytes of one value.
    pub(in crate::checkpoint) fn width(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::F16(_) | Self::U16(_) => 2,
            Self::U8(_) => 1,
        }
    }

    pub(in crate::checkpoint) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) | Self::U16(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    pub(in crate::checkpoint) fn byte_len(&self) -> usize {
        self.len() * self.width()
    }

    /// Calls `each` with the little-endian bytes in pieces, so that a model is not copied.
    pub(in crate::checkpoint) fn for_each_piece(
        &self,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        /// Values per piece: 64 KiB of f32 stay in the L2 cache.
        const PIECE: usize = 16_384;
        let mut bytes = Vec::with_capacity(PIECE * self.width());
        match self {
            Self::U8(values) => take(values),
            Self::F16(values) | Self::U16(values) => values.chunks(PIECE).try_for_each(|piece| {
                bytes.clear();
                bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
                take(&bytes)
            }),
            Self::F32(values) => values.chunks(PIECE).try_for_each(|piece| {
                bytes.clear();
                bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
                take(&bytes)
            }),
        }
    }
}

/// An incremental SHA-256.
#[derive(Default)]
pub(in crate::checkpoint) struct Digest(Sha256);

impl Digest {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    /// Adds a text.
    pub(in crate::checkpoint) fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    fn describe(&mut self, name: &str, type_name: &str, shape: &[usize], byte_len: usize) {
        self.text(name);
        self.text(type_name);
        self.number(shape.len());
        shape.iter().for_each(|extent| self.number(*extent));
        self.number(byte_len);
    }

    /// Adds a tensor by its values.
    pub(in crate::checkpoint) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        values: Values<'_>,
    ) {
        self.describe(name, values.type_name(), shape, values.byte_len());
        // The closure never fails, so neither does the loop.
        let _ = values.for_each_piece(|bytes| {
            self.0.update(bytes);
            Ok(())
        });
    }

    /// Adds a tensor by its bytes in a file; equal to [`Self::tensor`] of the same values.
    pub(in crate::checkpoint) fn tensor_bytes(
        &mut self,
        name: &str,
        type_name: &str,
        shape: &[usize],
        bytes: &[u8],
    ) {
        self.describe(name, type_name, shape, bytes.len());
        self.0.update(bytes);
    }

    /// All 64 hexadecimal digits.
    pub(in crate::checkpoint) fn checksum(self) -> String {
        self.0.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The first 16 hexadecimal digits: enough to tell models apart, short enough to read aloud.
    pub(in crate::checkpoint) fn fingerprint(self) -> String {
        let mut text = self.checksum();
        text.truncate(16);
        text
    }
}

/// 16 hexadecimal digits that identify a text.
pub(crate) fn text_fingerprint(text: &str) -> String {
    let mut digest = Digest::default();
    digest.text(text);
    digest.fingerprint()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_hashed_with_its_length_in_front() {
        let mut digest = Digest::default();
        digest.text("abc");
        // python3 -c "import hashlib; print(hashlib.sha256(b'\x03' + bytes(7) + b'abc').hexdigest())"
        assert_eq!(
            digest.checksum(),
            "ce91dc5eec0139adf091900d225971d6ad246a845bad791b5693a9d0d55dd391"
        );
    }

    #[test]
    fn values_and_their_bytes_give_the_same_digest() {
        let values = [1.5f32, -0.0, f32::MAX];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (mut a, mut b) = (Digest::default(), Digest::default());
        a.tensor("x", &[3], Values::F32(&values));
        b.tensor_bytes("x", "F32", &[3], &bytes);
        assert_eq!(a.checksum(), b.checksum());
    }

    #[test]
    fn moving_a_letter_from_one_part_to_the_next_changes_the_digest() {
        let of = |parts: [&str; 2]| {
            let mut digest = Digest::default();
            parts.iter().for_each(|part| digest.text(part));
            digest.fingerprint()
        };
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
        assert_eq!(of(["ab", "c"]).len(), 16);
    }

    #[test]
    fn long_tensors_are_handed_over_in_order() {
        let values: Vec<u16> = (0..40_000).map(|i| i as u16).collect();
        let mut bytes = Vec::new();
        Values::U16(&values)
            .for_each_piece(|piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        let expected: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes, expected);
    }
}
