//! Writing a [`super::Container`]: equal arguments give equal bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{CHECKSUM, FORMAT, digest_of};
use crate::checkpoint::disk::atomic;
use crate::checkpoint::disk::digest::Values;
use crate::checkpoint::tensors::named_tensor::{NamedTensor, element_count};
use crate::error::{Error, Result};

/// The header is padded to a multiple of this, so that the tensors after it are aligned.
pub(super) const ALIGNMENT: usize = 8;

/// A tensor to be written.
#[derive(Debug, Clone, Copy)]
pub(in crate::checkpoint) struct Entry<'a> {
    pub(in crate::checkpoint) name: &'a str,
    pub(in crate::checkpoint) shape: &'a [usize],
    pub(in crate::checkpoint) values: Values<'a>,
}

impl<'a> From<&'a NamedTensor> for Entry<'a> {
    fn from(tensor: &'a NamedTensor) -> Self {
        Self { name: &tensor.name, shape: &tensor.shape, values: Values::F32(&tensor.data) }
    }
}

/// A file ready to write: the header, and the tensors in their order.
pub(in crate::checkpoint) struct Draft<'a> {
    header: String,
    entries: Vec<Entry<'a>>,
}

impl Draft<'_> {
    /// Writes everything to `file`.
    pub(in crate::checkpoint) fn write_to(&self, file: &mut dyn Write) -> io::Result<()> {
        file.write_all(&(self.header.len() as u64).to_le_bytes())?;
        file.write_all(self.header.as_bytes())?;
        let mut entries = self.entries.iter();
        entries.try_for_each(|e| e.values.for_each_piece(|bytes| file.write_all(bytes)))
    }
}

/// Writes a file of `format` atomically, with its checksum. Equal arguments give equal bytes.
pub(in crate::checkpoint) fn write(
    path: &Path,
    format: &str,
    metadata: BTreeMap<String, String>,
    entries: Vec<Entry<'_>>,
) -> Result<()> {
    let draft = draft(path, format, metadata, entries)?;
    atomic::write_with(path, |file| draft.write_to(file))
}

/// Lays out a file of `format` with its checksum; `path` is for messages.
pub(in crate::checkpoint) fn draft<'a>(
    path: &Path,
    format: &str,
    mut metadata: BTreeMap<String, String>,
    mut entries: Vec<Entry<'a>>,
) -> Result<Draft<'a>> {
    metadata.remove(CHECKSUM);
    metadata.insert(FORMAT.to_owned(), format.to_owned());
    entries.sort_by(|a, b| a.name.cmp(b.name));
    for entry in &entries {
        if element_count(entry.shape) != Some(entry.values.len()) {
            return Err(Error::invalid(format!(
                "cannot write {}: tensor {} of shape {:?} cannot hold {} values",
                path.display(),
                entry.name,
                entry.shape,
                entry.values.len()
            )));
        }
    }
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::invalid(format!(
            "cannot write {}: tensor {} appears twice",
            path.display(),
            pair[0].name
        )));
    }
    let mut digest = digest_of(&metadata);
    for entry in &entries {
        digest.tensor(entry.name, entry.shape, entry.values);
    }
    metadata.insert(CHECKSUM.to_owned(), digest.checksum());
    // Wide types first, as the format asks, so that every tensor is aligned; the sort is stable.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.values.width()));
    Ok(Draft { header: header(&metadata, &entries), entries })
}

fn header(metadata: &BTreeMap<String, String>, entries: &[Entry<'_>]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut start = 0;
    for entry in entries {
        let end = start + entry.values.byte_len();
        let info = json!({
            "dtype": entry.values.type_name(),
            "shape": entry.shape,
            "data_offsets": [start, end],
        });
        header.insert(entry.name.to_owned(), info);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    let padding = text.len().next_multiple_of(ALIGNMENT) - text.len();
    text.extend(std::iter::repeat_n(' ', padding));
    text
}
