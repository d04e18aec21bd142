//! `vqvae.safetensors` and `prior.safetensors`: a model file is self-contained. Weights have readable names and
//! PyTorch's layout, and the metadata holds the model's configuration, provenance and fingerprint. The configuration is
//! JSON here; its meaning is the model's.
//!
//! The fingerprint is the first 16 hexadecimal digits of SHA-256 over the configuration text and then each tensor, by
//! name (name, type, shape, bytes; every part preceded by its length). It identifies what the model computes and is
//! independent of the provenance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use half::f16;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::run_dir::Stage;
use crate::checkpoint::disk::container::{self, Container, Entry};
use crate::checkpoint::disk::digest::{Digest, Values};
use crate::checkpoint::tensors::named_tensor::NamedTensor;
use crate::checkpoint::tensors::parameters;
use crate::error::{Error, Result};

const CONFIG: &str = "config";
const FINGERPRINT: &str = "fingerprint";

/// Which of the two models a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encoder, codebook and decoder.
    Tokenizer,
    /// The GPT over codes.
    Prior,
}

impl Kind {
    /// What a stage trains.
    pub fn of(stage: Stage) -> Self {
        match stage {
            Stage::Vqvae => Self::Tokenizer,
            Stage::Prior => Self::Prior,
        }
    }

    fn format(self) -> &'static str {
        match self {
            Self::Tokenizer => "vqgen.vqvae.1",
            Self::Prior => "vqgen.prior.1",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::Prior => "prior",
        }
    }
}

/// A model as stored in its file: on the host, in file layout, not tied to any module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    kind: Kind,
    /// The file it was read from, for messages; for a new model, a description.
    source: PathBuf,
    config: String,
    fingerprint: String,
    metadata: BTreeMap<String, String>,
    tensors: Vec<NamedTensor>,
    /// Whether the weights are stored as 16-bit floats, which then hold them exactly.
    is_half: bool,
}

impl ModelFile {
    /// A model from tensors in file layout.
    ///
    /// # Errors
    /// A value that is not finite, or a configuration that cannot be serialised.
    pub fn new<C: Serialize>(
        kind: Kind,
        config: &C,
        mut tensors: Vec<NamedTensor>,
    ) -> Result<Self> {
        let config = serde_json::to_string(config)
            .map_err(|e| Error::invalid(format!("the {} configuration: {e}", kind.noun())))?;
        for tensor in &tensors {
            if let Some(value) = tensor.first_non_finite() {
                return Err(Error::invalid(format!(
                    "cannot save the {}: {} holds {value}, allowed are finite numbers \
                     (lower the learning rate and resume from the last checkpoint)",
                    kind.noun(),
                    tensor.name
                )));
            }
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let fingerprint = fingerprint(&config, &tensors);
        let source = PathBuf::from(format!("new {}", kind.noun()));
        let metadata = BTreeMap::new();
        Ok(Self { kind, source, config, fingerprint, metadata, tensors, is_half: false })
    }

    /// The model with its weights rounded to 16-bit floats, in which its file will hold them: another model, with
    /// another fingerprint.
    ///
    /// # Errors
    /// A weight beyond the largest 16-bit float, 65,504.
    pub fn halved(mut self) -> Result<Self> {
        for tensor in &mut self.tensors {
            for value in &mut tensor.data {
                let rounded = f16::from_f32(*value);
                if rounded.is_infinite() {
                    return Err(Error::file(
                        &self.source,
                        format!(
                            "{} holds {value}, which 16-bit floats cannot: their largest is {}",
                            tensor.name,
                            f16::MAX
                        ),
                    ));
                }
                *value = rounded.to_f32();
            }
        }
        self.fingerprint = fingerprint(&self.config, &self.tensors);
        Ok(Self { is_half: true, ..self })
    }

    /// Adds a metadata value: `tokenizer`, `codes`. The file's own keys cannot be replaced.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a metadata value as JSON: `provenance`, `classes`.
    ///
    /// # Errors
    /// A value that cannot be serialised.
    pub fn with_json<T: Serialize>(self, key: &str, value: &T) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::invalid(format!("metadata {key} of a model file: {e}")))?;
        Ok(self.with(key, text))
    }

    /// Writes the file atomically. The folder must exist.
    ///
    /// # Errors
    /// I/O errors.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut metadata = self.metadata.clone();
        metadata.insert(CONFIG.to_owned(), self.config.clone());
        metadata.insert(FINGERPRINT.to_owned(), self.fingerprint.clone());
        let halves: Vec<Vec<u16>> = match self.is_half {
            true => self.tensors.iter().map(bits_of_halves).collect(),
            false => Vec::new(),
        };
        let entries = self.tensors.iter().enumerate().map(|(i, tensor)| match halves.get(i) {
            Some(bits) => Entry { values: Values::F16(bits), ..Entry::from(tensor) },
            None => Entry::from(tensor),
        });
        container::write(path.as_ref(), self.kind.format(), metadata, entries.collect())
    }

    /// Reads and verifies a file of `kind`: format, checksum, fingerprint and finite values.
    ///
    /// # Errors
    /// A file that cannot be read or fails one of these checks; the message names the field.
    pub fn load(path: impl AsRef<Path>, kind: Kind) -> Result<Self> {
        let path = path.as_ref();
        Self::from_container(path, Container::read(path, kind.format())?, kind)
    }

    /// As [`ModelFile::load`], from the bytes of a file; `source` is its name in messages.
    ///
    /// # Errors
    /// As [`ModelFile::load`].
    pub fn from_bytes(source: impl AsRef<Path>, bytes: Vec<u8>, kind: Kind) -> Result<Self> {
        let source = source.as_ref();
        Self::from_container(source, Container::from_bytes(source, bytes, kind.format())?, kind)
    }

    fn from_container(source: &Path, container: Container, kind: Kind) -> Result<Self> {
        let config = container.metadata(CONFIG)?.to_owned();
        let stored = container.metadata(FINGERPRINT)?.to_owned();
        let is_half = container.has_halves();
        let tensors = if is_half { container.halves()? } else { container.floats()? };
        for tensor in &tensors {
            if let Some(value) = tensor.first_non_finite() {
                return Err(container.error(format!(
                    "tensor {} holds {value}, allowed are finite numbers",
                    tensor.name
                )));
            }
        }
        let computed = fingerprint(&config, &tensors);
        if stored != computed {
            return Err(container.error(format!(
                "is damaged: the fingerprint of its weights is {computed}, the recorded one {stored}"
            )));
        }
        let mut metadata = container.free_metadata();
        metadata.remove(CONFIG);
        metadata.remove(FINGERPRINT);
        let source = source.to_path_buf();
        Ok(Self { kind, source, config, fingerprint: stored, metadata, tensors, is_half })
    }

    /// The model's configuration. It is not validated here.
    ///
    /// # Errors
    /// Metadata that is not a configuration of this form.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C> {
        serde_json::from_str(&self.config)
            .map_err(|e| Error::file(&self.source, format!("{CONFIG} in the metadata: {e}")))
    }

    /// Which model it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether both would be written as identical files.
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.fingerprint == other.fingerprint
            && self.metadata == other.metadata
            && self.is_half == other.is_half
    }

    /// 16 hexadecimal digits that identify configuration and weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The file this was read from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// A required metadata value.
    ///
    /// # Errors
    /// It is missing.
    pub fn metadata(&self, key: &str) -> Result<&str> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| Error::file(&self.source, format!("has no {key} in its metadata")))
    }

    /// A required metadata value, from JSON.
    ///
    /// # Errors
    /// It is missing, or does not have this form.
    pub fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        serde_json::from_str(self.metadata(key)?)
            .map_err(|e| Error::file(&self.source, format!("{key} in the metadata: {e}")))
    }

    /// An optional metadata value, from JSON.
    ///
    /// # Errors
    /// It does not have this form.
    pub fn optional_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        if self.metadata.contains_key(key) { self.json(key).map(Some) } else { Ok(None) }
    }

    /// The weights, sorted by name, in file layout.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }

    /// Loads all weights into `module`, which was built from [`Self::config`].
    ///
    /// # Errors
    /// The first parameter that is missing from the file, has another shape, or is unknown to `module`.
    pub fn load_into<M: Module>(self, module: M) -> Result<M> {
        parameters::load(module, self.tensors, &self.source)
    }
}

fn bits_of_halves(tensor: &NamedTensor) -> Vec<u16> {
    tensor.data.iter().map(|value| f16::from_f32(*value).to_bits()).collect()
}

fn fingerprint(config: &str, sorted: &[NamedTensor]) -> String {
    let mut digest = Digest::default();
    digest.text(config);
    for tensor in sorted {
        digest.tensor(&tensor.name, &tensor.shape, Values::F32(&tensor.data));
    }
    digest.fingerprint()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
