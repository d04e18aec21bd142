//! A safetensors file with a checksum: the common format of model files, the code file and the resume state. It knows
//! tensors, metadata and damage, not their meaning.
//!
//! The header is written here and not by the `safetensors` crate, whose metadata is a hash map in random order: equal
//! content must give equal bytes. Reading checks the header against the length of the file before allocating anything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde::de::DeserializeOwned;

use super::atomic;
use super::digest::Digest;
use crate::checkpoint::tensors::named_tensor::NamedTensor;
use crate::error::{Error, Result};

mod header;
mod writer;

use header::Header;
pub(in crate::checkpoint) use writer::{Entry, draft, write};

/// Metadata key of the format's name and version.
const FORMAT: &str = "format";
/// Metadata key of the SHA-256 over all other metadata and all tensors.
const CHECKSUM: &str = "checksum";

/// The part of the checksum over the metadata.
fn digest_of(metadata: &BTreeMap<String, String>) -> Digest {
    let mut digest = Digest::default();
    for (key, value) in metadata.iter().filter(|(key, _)| key.as_str() != CHECKSUM) {
        digest.text(key);
        digest.text(value);
    }
    digest
}

/// Text from a file as shown in a message: shortened, and on one line.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[derive(Debug)]
struct Stored {
    type_name: String,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// What a file says of itself, without the values of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Everything in its header: format, checksum, and what the format has.
    pub metadata: BTreeMap<String, String>,
    /// Name, type as safetensors calls it, and shape of each tensor, sorted by name.
    pub tensors: Vec<(String, String, Vec<usize>)>,
}

impl Contents {
    /// Those of the tensor file of vqgen at `path`.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or was written by another program.
    pub fn of(path: &Path) -> Result<Self> {
        Ok(Container::read_any(path)?.contents())
    }
}

/// A file that was read, whose header is consistent with its length.
#[derive(Debug)]
pub(in crate::checkpoint) struct Container {
    path: PathBuf,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Stored>,
    bytes: Vec<u8>,
}

impl Container {
    /// Reads a file of `format` and verifies its checksum.
    pub(in crate::checkpoint) fn read(path: &Path, format: &str) -> Result<Self> {
        Self::from_bytes(path, atomic::read(path)?, format)
    }

    /// As [`Container::read`], from the bytes of a file; `path` is for messages.
    pub(in crate::checkpoint) fn from_bytes(
        path: &Path,
        bytes: Vec<u8>,
        format: &str,
    ) -> Result<Self> {
        let container = Self::parse(path, bytes)?;
        match container.metadata.get(FORMAT) {
            Some(seen) if seen == format => {}
            Some(seen) => {
                let seen = shown(seen);
                return Err(container.error(format!("has format {seen}, expected {format}")));
            }
            None => {
                let message =
                    format!("names no format, expected {format} (was it written by vqgen?)");
                return Err(container.error(message));
            }
        }
        container.verified()
    }

    /// Reads a file of any format of vqgen and verifies its checksum.
    pub(in crate::checkpoint) fn read_any(path: &Path) -> Result<Self> {
        let container = Self::parse(path, atomic::read(path)?)?;
        let is_ours = |format: &String| format.starts_with("vqgen.");
        if !container.metadata.get(FORMAT).is_some_and(is_ours) {
            let message =
                "names no format of vqgen: another program wrote it (`vqgen import` reads some)";
            return Err(container.error(message));
        }
        container.verified()
    }

    fn verified(self) -> Result<Self> {
        let (stored, computed) = (self.metadata(CHECKSUM)?, self.checksum());
        if stored != computed {
            return Err(self.error(format!(
                "is damaged: the checksum of its content is {computed}, the recorded one {}",
                shown(stored)
            )));
        }
        Ok(self)
    }

    /// All metadata, and the name, type and shape of each tensor.
    pub(in crate::checkpoint) fn contents(self) -> Contents {
        let tensor = |(name, stored): (String, Stored)| (name, stored.type_name, stored.shape);
        Contents {
            metadata: self.metadata,
            tensors: self.tensors.into_iter().map(tensor).collect(),
        }
    }

    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let Header { metadata, tensors, data_start } = Header::read(&bytes).map_err(|e| {
            Error::file(
                path,
                format!("is not a complete safetensors file: {e} (truncated or damaged?)"),
            )
        })?;
        let tensors = tensors.into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            // Both ends are in bounds, as `Header::read` has checked; so no slice of `bytes` below can panic.
            let stored = Stored {
                type_name: info.dtype.to_string(),
                shape: info.shape,
                bytes: data_start + start..data_start + end,
            };
            (name, stored)
        });
        Ok(Self { path: path.to_path_buf(), tensors: tensors.collect(), metadata, bytes })
    }

    fn checksum(&self) -> String {
        let mut digest = digest_of(&self.metadata);
        for (name, stored) in &self.tensors {
            let bytes = &self.bytes[stored.bytes.clone()];
            digest.tensor_bytes(name, &stored.type_name, &stored.shape, bytes);
        }
        digest.checksum()
    }

    /// An error about this file.
    pub(in crate::checkpoint) fn error(&self, message: impl Into<String>) -> Error {
        Error::file(&self.path, message)
    }

    /// All metadata but the format and the checksum.
    pub(in crate::checkpoint) fn free_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.metadata.clone();
        metadata.remove(FORMAT);
        metadata.remove(CHECKSUM);
        metadata
    }

    /// A required metadata value.
    pub(in crate::checkpoint) fn metadata(&self, key: &str) -> Result<&str> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| self.error(format!("has no {key} in its metadata")))
    }

    /// A required metadata value, a whole number.
    pub(in crate::checkpoint) fn number(&self, key: &str) -> Result<usize> {
        let text = self.metadata(key)?;
        text.parse()
            .map_err(|_| self.error(format!("{key} is {:?}, expected a whole number", shown(text))))
    }

    /// An optional metadata value, from JSON.
    pub(in crate::checkpoint) fn optional_json<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>> {
        let parse = |text: &String| {
            serde_json::from_str(text)
                .map_err(|e| self.error(format!("{key} in the metadata: {e}")))
        };
        self.metadata.get(key).map(parse).transpose()
    }

    /// Refuses tensors with names other than `names`.
    pub(in crate::checkpoint) fn expect_only(&self, names: &[&str]) -> Result<()> {
        match self.tensors.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => {
                let name = shown(name);
                Err(self.error(format!("holds an unknown tensor {name}")))
            }
            None => Ok(()),
        }
    }

    fn stored(&self, name: &str, type_name: &str) -> Result<(&Stored, &[u8])> {
        let stored = self
            .tensors
            .get(name)
            .ok_or_else(|| self.error(format!("tensor {name} is missing")))?;
        if stored.type_name != type_name {
            return Err(self.error(format!(
                "tensor {name} has the type {}, expected {type_name}",
                stored.type_name
            )));
        }
        Ok((stored, &self.bytes[stored.bytes.clone()]))
    }

    /// Shape and values of a U16 tensor.
    pub(in crate::checkpoint) fn u16(&self, name: &str) -> Result<(Vec<usize>, Vec<u16>)> {
        let (stored, bytes) = self.stored(name, "U16")?;
        let (pairs, _) = bytes.as_chunks();
        Ok((stored.shape.clone(), pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()))
    }

    /// Shape and values of a U8 tensor.
    pub(in crate::checkpoint) fn u8(&self, name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
        let (stored, bytes) = self.stored(name, "U8")?;
        Ok((stored.shape.clone(), bytes.to_vec()))
    }

    /// Values of an optional U8 tensor of any length.
    pub(in crate::checkpoint) fn optional_u8(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.tensors.contains_key(name) {
            return Ok(None);
        }
        Ok(Some(self.u8(name)?.1))
    }

    /// All tensors, sorted by name; each must be F32.
    pub(in crate::checkpoint) fn floats(&self) -> Result<Vec<NamedTensor>> {
        self.tensors.keys().map(|name| self.float(name)).collect()
    }

    /// As [`Container::floats`], where each must be F16.
    pub(in crate::checkpoint) fn halves(&self) -> Result<Vec<NamedTensor>> {
        self.tensors.keys().map(|name| self.half(name)).collect()
    }

    /// Whether there are F16 tensors.
    pub(in crate::checkpoint) fn has_halves(&self) -> bool {
        self.tensors.values().any(|stored| stored.type_name == "F16")
    }

    fn float(&self, name: &str) -> Result<NamedTensor> {
        let (stored, bytes) = self.stored(name, "F32")?;
        let (words, _) = bytes.as_chunks();
        let data = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok(NamedTensor { name: name.to_owned(), shape: stored.shape.clone(), data })
    }

    fn half(&self, name: &str) -> Result<NamedTensor> {
        let (stored, bytes) = self.stored(name, "F16")?;
        let (words, _) = bytes.as_chunks();
        let data = words.iter().map(|word| f16::from_le_bytes(*word).to_f32()).collect();
        Ok(NamedTensor { name: name.to_owned(), shape: stored.shape.clone(), data })
    }

    fn brain_half(&self, name: &str) -> Result<NamedTensor> {
        let (stored, bytes) = self.stored(name, "BF16")?;
        let (words, _) = bytes.as_chunks();
        let data = words.iter().map(|word| bf16::from_le_bytes(*word).to_f32()).collect();
        Ok(NamedTensor { name: name.to_owned(), shape: stored.shape.clone(), data })
    }
}

/// The F32, F16 and BF16 tensors of any safetensors file whose names are `wanted`, sorted by name, whoever wrote it: without a
/// format or checksum. Tensors of other types (PyTorch's counters) are left out.
pub(in crate::checkpoint) fn read_floats(
    path: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<NamedTensor>> {
    floats_from_bytes(path, atomic::read(path)?, wanted)
}

/// As [`super::foreign::read_foreign`], from the bytes of a safetensors file; `path` is for messages.
pub(crate) fn foreign_from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Vec<NamedTensor>> {
    floats_from_bytes(path, bytes, &|_| true)
}

fn floats_from_bytes(
    path: &Path,
    bytes: Vec<u8>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<NamedTensor>> {
    let container = Container::parse(path, bytes)?;
    let of_wanted = container.tensors.iter().filter(|(name, _)| wanted(name));
    let floats = of_wanted.filter_map(|(name, stored)| match stored.type_name.as_str() {
        "F32" => Some(container.float(name)),
        "F16" => Some(container.half(name)),
        "BF16" => Some(container.brain_half(name)),
        _ => None,
    });
    floats.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
