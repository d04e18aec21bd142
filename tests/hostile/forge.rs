//! Forges our files: false contents with valid checksums, written by code independent of the program's, following the
//! documented format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};

/// A tensor as stored in a file.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) type_name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// A file split into its parts.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Forged {
    /// The parts of a safetensors file; `None` if it is not one.
    pub(crate) fn of(file: &[u8]) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(file).ok()?;
        let tensors = SafeTensors::deserialize(file).ok()?;
        let tensors = tensors.iter().map(|(name, view)| {
            let type_name = view.dtype().to_string();
            let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), Tensor { type_name, shape, bytes })
        });
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Some(Self { metadata, tensors: tensors.collect() })
    }

    /// `self` after `change`.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The file, with fingerprint and checksum recomputed.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let covered: &[&str] = match self.metadata.get("format").map_or("", String::as_str) {
            "vqgen.codes.1" => &["channels", "classes", "codebook_size", "image_size", "tokenizer"],
            "vqgen.resume.1" => &[],
            _ => &["config"],
        };
        if !covered.is_empty() {
            let mut hash = Hash::default();
            for key in covered {
                if *key != "config" {
                    hash.text(key);
                }
                hash.text(self.metadata.get(*key).map_or("", String::as_str));
            }
            // Image names do not affect what a prior learns.
            let covered = self.tensors.iter().filter(|(name, _)| *name != "names");
            hash.tensors(covered);
            self.metadata.insert("fingerprint".to_owned(), hash.hex()[..16].to_owned());
        }
        self.metadata.remove("checksum");
        let mut hash = Hash::default();
        for (key, value) in &self.metadata {
            hash.text(key);
            hash.text(value);
        }
        hash.tensors(self.tensors.iter());
        self.metadata.insert("checksum".to_owned(), hash.hex());
        self.unsigned_bytes()
    }

    /// The file with its checksums unchanged.
    pub(crate) fn unsigned_bytes(self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), serde_json::json!(self.metadata));
        let mut data = Vec::new();
        for (name, tensor) in self.tensors {
            let place = [data.len(), data.len() + tensor.bytes.len()];
            let info = serde_json::json!(
                { "dtype": tensor.type_name, "shape": tensor.shape, "data_offsets": place }
            );
            header.insert(name, info);
            data.extend(tensor.bytes);
        }
        let header = serde_json::Value::Object(header).to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
    }
}

#[derive(Default)]
struct Hash(Sha256);

impl Hash {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    fn tensors<'a>(&mut self, tensors: impl Iterator<Item = (&'a String, &'a Tensor)>) {
        for (name, tensor) in tensors {
            self.text(name);
            self.text(&tensor.type_name);
            self.number(tensor.shape.len());
            tensor.shape.iter().for_each(|extent| self.number(*extent));
            self.number(tensor.bytes.len());
            self.0.update(&tensor.bytes);
        }
    }

    fn hex(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }
}
