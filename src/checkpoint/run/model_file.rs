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
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        Ok(Self { kind, source, config, fingerprint, metadata: BTreeMap::new(), tensors })
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
        let entries = self.tensors.iter().map(Entry::from).collect();
        container::write(path.as_ref(), self.kind.format(), metadata, entries)
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
        let tensors = container.floats()?;
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
        Ok(Self { kind, source, config, fingerprint: stored, metadata, tensors })
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tensors() -> Vec<NamedTensor> {
        vec![
            NamedTensor::new("b", vec![2], vec![1.0, -0.0]).unwrap(),
            NamedTensor::new("a.weight", vec![1, 2], vec![0.25, 1e-40]).unwrap(),
        ]
    }

    fn model() -> ModelFile {
        ModelFile::new(Kind::Tokenizer, &json!({"width": 4}), tensors()).unwrap()
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vqvae.safetensors");
        (folder, path)
    }

    #[test]
    fn a_model_is_read_back_with_everything_that_belongs_to_it() {
        let (_folder, path) = path();
        let written = model()
            .with("tokenizer", "0123456789abcdef")
            .with_json("classes", &["cats", "dogs"])
            .unwrap();
        written.save(&path).unwrap();
        let read = ModelFile::load(&path, Kind::Tokenizer).unwrap();
        assert_eq!(read.config::<Value>().unwrap(), json!({"width": 4}));
        assert_eq!(read.metadata("tokenizer").unwrap(), "0123456789abcdef");
        assert_eq!(read.json::<Vec<String>>("classes").unwrap(), ["cats", "dogs"]);
        assert_eq!(read.fingerprint(), written.fingerprint());
        assert_eq!(read.fingerprint().len(), 16);
        let names: Vec<_> = read.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a.weight", "b"]);
        assert_eq!(read.tensors()[1].data[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(read.source(), path);
    }

    #[test]
    fn the_fingerprint_covers_configuration_and_weights_but_not_provenance() {
        let base = model();
        let mut other = tensors();
        other[0].data[1] = 0.0; // differs from -0.0 in one bit
        let other = ModelFile::new(Kind::Tokenizer, &json!({"width": 4}), other).unwrap();
        assert_ne!(other.fingerprint(), base.fingerprint());
        let other = ModelFile::new(Kind::Tokenizer, &json!({"width": 5}), tensors()).unwrap();
        assert_ne!(other.fingerprint(), base.fingerprint());
        let named = base.clone().with("provenance", "{}");
        assert_eq!(named.fingerprint(), base.fingerprint());
    }

    #[test]
    fn a_prior_is_not_taken_for_a_tokenizer() {
        let (_folder, path) = path();
        model().save(&path).unwrap();
        let error = ModelFile::load(&path, Kind::Prior).unwrap_err().to_string();
        assert!(error.contains("has format vqgen.vqvae.1, expected vqgen.prior.1"), "{error}");
    }

    #[test]
    fn weights_changed_behind_a_right_checksum_do_not_pass_the_fingerprint() {
        let (_folder, path) = path();
        let mut forged = model();
        forged.tensors[0].data[0] += 1.0;
        forged.save(&path).unwrap();
        let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
        assert!(error.contains(&format!("the recorded one {}", model().fingerprint())), "{error}");
    }

    #[test]
    fn a_flipped_byte_is_refused() {
        let (_folder, path) = path();
        model().save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }

    #[test]
    fn a_model_that_is_not_finite_is_neither_saved_nor_loaded() {
        let (_folder, path) = path();
        let mut broken = tensors();
        broken[1].data[0] = f32::NAN;
        let error = ModelFile::new(Kind::Prior, &json!({}), broken).unwrap_err().to_string();
        assert!(error.contains("a.weight holds NaN"), "{error}");
        let mut forged = model();
        forged.tensors[0].data[0] = f32::INFINITY;
        forged.fingerprint = fingerprint(&forged.config, &forged.tensors);
        forged.save(&path).unwrap();
        let error = ModelFile::load(&path, Kind::Tokenizer).unwrap_err().to_string();
        assert!(error.contains("tensor a.weight holds inf"), "{error}");
    }

    #[test]
    fn a_missing_or_malformed_metadata_value_is_named() {
        let read = model().with("classes", "[1");
        assert!(read.metadata("codes").unwrap_err().to_string().contains("has no codes"));
        let error = read.json::<Vec<String>>("classes").unwrap_err().to_string();
        assert!(error.contains("classes in the metadata"), "{error}");
        assert!(
            read.config::<Vec<u8>>().unwrap_err().to_string().contains("config in the metadata")
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = ModelFile::load("no/such.safetensors", Kind::Prior).unwrap_err().to_string();
        assert!(error.starts_with("cannot read no/such.safetensors"), "{error}");
    }
}
