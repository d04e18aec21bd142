//! The state from which training resumes bit for bit: the tensors of model, optimizer and running statistics, and the
//! counters, in ONE file, so that a checkpoint is one rename. Which tensors and counters there are is the caller's
//! business; here they only survive bit by bit.
//!
//! Tensor names are a prefix and a path: `model.encoder.0.weight`, `adamw.m.encoder.0.weight`. Counters are JSON, in
//! which u64 and f64 are exact (f32 too: it widens to f64). JSON has no infinity: a best value that does not exist yet
//! is an `Option`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run_dir::{RunDir, Stage};
use crate::checkpoint::disk::atomic;
use crate::checkpoint::disk::container::{self, Container, Entry};
use crate::checkpoint::tensors::named_tensor::NamedTensor;
use crate::checkpoint::tensors::parameters;
use crate::error::{Error, Result};

const FORMAT: &str = "vqgen.resume.1";
const STAGE: &str = "stage";
const COUNTERS: &str = "state";
/// Counters and settings take a kilobyte or two; parsed JSON takes 32 bytes of memory per value.
const MOST_COUNTER_BYTES: usize = 1 << 16;

/// The state of a stage at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeState {
    stage: Stage,
    source: PathBuf,
    counters: Value,
    tensors: BTreeMap<String, NamedTensor>,
}

impl ResumeState {
    /// A state with counters and no tensors yet.
    ///
    /// # Errors
    /// Counters that cannot be serialised.
    pub fn new<C: Serialize>(stage: Stage, counters: &C) -> Result<Self> {
        let counters = serde_json::to_value(counters)
            .map_err(|e| Error::invalid(format!("the counters of {}: {e}", stage.name())))?;
        let source = PathBuf::from(format!("new state of {}", stage.name()));
        Ok(Self { stage, source, counters, tensors: BTreeMap::new() })
    }

    /// The counters.
    ///
    /// # Errors
    /// Metadata that is not counters of this form.
    pub fn counters<C: DeserializeOwned>(&self) -> Result<C> {
        C::deserialize(&self.counters)
            .map_err(|e| Error::file(&self.source, format!("{COUNTERS} in the metadata: {e}")))
    }

    /// Adds tensors under a prefix such as `adamw.m.`.
    ///
    /// # Errors
    /// A duplicate name, or a value that is not finite: a diverged state must not replace a good one.
    pub fn insert(&mut self, prefix: &str, tensors: Vec<NamedTensor>) -> Result<()> {
        for mut tensor in tensors {
            tensor.name.insert_str(0, prefix);
            if let Some(value) = tensor.first_non_finite() {
                return Err(Error::invalid(format!(
                    "cannot save the state of {}: {} holds {value}, allowed are finite numbers \
                     (lower the learning rate and resume from the last checkpoint)",
                    self.stage.name(),
                    tensor.name
                )));
            }
            if self.tensors.contains_key(&tensor.name) {
                return Err(Error::invalid(format!(
                    "cannot save the state of {}: {} appears twice",
                    self.stage.name(),
                    tensor.name
                )));
            }
            self.tensors.insert(tensor.name.clone(), tensor);
        }
        Ok(())
    }

    /// Adds all parameters of a module under a prefix such as `model.`. Synchronises with the device.
    ///
    /// # Errors
    /// As [`ResumeState::insert`].
    pub fn insert_module<M: Module>(&mut self, prefix: &str, module: &M) -> Result<()> {
        self.insert(prefix, parameters::named(module)?)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Removes and returns the tensors of a prefix, sorted by name, with the prefix stripped.
    pub fn take(&mut self, prefix: &str) -> Vec<NamedTensor> {
        let names = self.tensors.range(prefix.to_owned()..).map(|(name, _)| name);
        let names: Vec<_> = names.take_while(|name| name.starts_with(prefix)).cloned().collect();
        let mut taken = Vec::with_capacity(names.len());
        for name in names {
            if let Some(mut tensor) = self.tensors.remove(&name) {
                tensor.name.drain(..prefix.len());
                taken.push(tensor);
            }
        }
        taken
    }

    /// Loads the tensors of a prefix into a module: all of them, of the right shape.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is unknown to the module.
    pub fn take_module<M: Module>(&mut self, prefix: &str, module: M) -> Result<M> {
        let tensors = self.take(prefix);
        parameters::load(module, tensors, &self.source)
    }

    /// Refuses tensors that were not taken: the state is of another kind of training.
    ///
    /// # Errors
    /// The name of the first one left.
    pub fn expect_empty(&self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::file(
                &self.source,
                format!("holds {name}, which this recipe does not use"),
            )),
        }
    }

    /// Removes and returns the tensor of this name, which must have this shape.
    ///
    /// # Errors
    /// It is missing, or has another shape.
    pub fn take_one(&mut self, name: &str, shape: &[usize]) -> Result<NamedTensor> {
        let tensor = self.tensors.remove(name);
        let tensor =
            tensor.ok_or_else(|| Error::file(&self.source, format!("has no tensor {name}")))?;
        tensor.expect_shape(shape, &self.source)?;
        Ok(tensor)
    }

    /// The file it was read from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Makes this the newest checkpoint of the run and returns its path. The previous newest one is replaced only after
    /// the new file was read back intact, and is then kept as the one before; unless it is known to be damaged, in
    /// which case the existing one before is kept.
    ///
    /// # Errors
    /// I/O errors, or a file that does not read back; earlier checkpoints stay.
    pub fn publish(&self, run: &RunDir, newest_is_good: bool) -> Result<PathBuf> {
        let path = run.resume_path(self.stage);
        let before = newest_is_good.then(|| run.previous_resume_path(self.stage));
        let draft = container::draft(&path, FORMAT, self.metadata(), self.entries())?;
        let check = |written: &Path| Container::read(written, FORMAT).map(|_| ());
        atomic::write_keeping(&path, before.as_deref(), |file| draft.write_to(file), check)?;
        Ok(path)
    }

    /// The newest intact checkpoint of the run. Where the newest is damaged it is the one before, and the second value
    /// says why.
    ///
    /// # Errors
    /// Neither of the two can be used.
    pub fn latest(run: &RunDir, stage: Stage) -> Result<(Self, Option<String>)> {
        let (path, before) = (run.resume_path(stage), run.previous_resume_path(stage));
        let reason = match Self::load(&path, stage) {
            Ok(state) => return Ok((state, None)),
            Err(reason) if reason.is_refusal() => return Err(reason),
            Err(reason) => reason,
        };
        if !before.exists() {
            return Err(reason);
        }
        let state = Self::load(&before, stage).map_err(|also| {
            Error::invalid(format!("{reason}; and the checkpoint before it: {also}"))
        })?;
        let told =
            format!("{reason}; resuming from the checkpoint before it, {}", before.display());
        Ok((state, Some(told)))
    }

    #[cfg(test)]
    fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        container::write(path.as_ref(), FORMAT, self.metadata(), self.entries())
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (STAGE.to_owned(), self.stage.name().to_owned()),
            (COUNTERS.to_owned(), self.counters.to_string()),
        ])
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        self.tensors.values().map(Entry::from).collect()
    }

    /// Reads a state of `stage` and verifies its checksum and that every value is finite.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is a state of the other stage.
    pub fn load(path: impl AsRef<Path>, stage: Stage) -> Result<Self> {
        let path = path.as_ref();
        Self::from_container(path, Container::read(path, FORMAT)?, stage)
    }

    /// As [`ResumeState::load`], from the bytes of a file; `source` is its name in messages.
    ///
    /// # Errors
    /// As [`ResumeState::load`].
    pub fn from_bytes(source: impl AsRef<Path>, bytes: Vec<u8>, stage: Stage) -> Result<Self> {
        let source = source.as_ref();
        Self::from_container(source, Container::from_bytes(source, bytes, FORMAT)?, stage)
    }

    fn from_container(source: &Path, container: Container, stage: Stage) -> Result<Self> {
        let seen = container.metadata(STAGE)?;
        if seen != stage.name() {
            let wanted = stage.name();
            return Err(container.error(format!("is a state of {seen}, expected one of {wanted}")));
        }
        let counters = container.metadata(COUNTERS)?;
        if counters.len() > MOST_COUNTER_BYTES {
            let message = format!("has {} bytes, allowed are {MOST_COUNTER_BYTES}", counters.len());
            return Err(container.error(format!("{COUNTERS} in the metadata {message}")));
        }
        let counters = serde_json::from_str(counters)
            .map_err(|e| container.error(format!("{COUNTERS} in the metadata: {e}")))?;
        let mut state =
            Self { stage, source: source.to_path_buf(), counters, tensors: BTreeMap::new() };
        state.insert("", container.floats()?).map_err(|e| container.error(e.to_string()))?;
        Ok(state)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Counters {
        step: u64,
        best: f64,
        last: f32,
        none: Option<f64>,
    }

    const COUNTED: Counters = Counters { step: u64::MAX, best: 0.1 + 0.2, last: 0.1, none: None };

    fn tensor(name: &str, data: &[f32]) -> NamedTensor {
        NamedTensor::new(name, vec![data.len()], data.to_vec()).unwrap()
    }

    fn state() -> ResumeState {
        let mut state = ResumeState::new(Stage::Vqvae, &COUNTED).unwrap();
        state.insert("model.", vec![tensor("a", &[1.0]), tensor("b", &[-0.0, 1e-45])]).unwrap();
        state.insert("adamw.m.", vec![tensor("a", &[3.0])]).unwrap();
        state.insert("models", vec![tensor("x", &[4.0])]).unwrap();
        state
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vqvae.safetensors");
        (folder, path)
    }

    #[test]
    fn tensors_and_counters_survive_bit_by_bit() {
        let (_folder, path) = path();
        state().save(&path).unwrap();
        let mut read = ResumeState::load(&path, Stage::Vqvae).unwrap();
        assert_eq!(read.counters::<Counters>().unwrap(), COUNTED);
        let model = read.take("model.");
        assert_eq!(model, [tensor("a", &[1.0]), tensor("b", &[-0.0, 1e-45])]);
        assert_eq!(model[1].data[0].to_bits(), (-0.0f32).to_bits());
        assert_eq!(read.take("adamw.m."), [tensor("a", &[3.0])]);
        assert!(read.expect_empty().unwrap_err().to_string().contains("holds modelsx"));
        assert_eq!(read.take("models"), [tensor("x", &[4.0])]);
        read.expect_empty().unwrap();
    }

    #[test]
    fn every_f64_survives_json() {
        let mut rng = crate::rng::stream(1, crate::rng::Purpose::Weights, 0, 0);
        let (_folder, path) = path();
        let values: Vec<f64> =
            (0..2_000).map(|_| f64::from_bits(rng.bits())).filter(|v| v.is_finite()).collect();
        ResumeState::new(Stage::Prior, &values).unwrap().save(&path).unwrap();
        let read: Vec<f64> = ResumeState::load(&path, Stage::Prior).unwrap().counters().unwrap();
        assert_eq!(read.len(), values.len());
        for (read, written) in read.iter().zip(&values) {
            assert_eq!(read.to_bits(), written.to_bits(), "{written:e} became {read:e}");
        }
    }

    #[test]
    fn the_same_state_gives_the_same_bytes() {
        let (_folder, path) = path();
        state().save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        ResumeState::load(&path, Stage::Vqvae).unwrap().save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn the_checkpoint_before_is_taken_where_the_newest_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path().join("run"));
        run.create().unwrap();
        let missing = ResumeState::latest(&run, Stage::Vqvae).unwrap_err().to_string();
        assert!(missing.contains("vqvae.safetensors"), "{missing}");
        let numbered = |n: u64| ResumeState::new(Stage::Vqvae, &n).unwrap();
        let latest = || {
            let (state, told) = ResumeState::latest(&run, Stage::Vqvae).unwrap();
            (state.counters::<u64>().unwrap(), told)
        };
        for n in 1..=3 {
            numbered(n).publish(&run, true).unwrap();
            assert_eq!(latest(), (n, None));
        }
        let path = run.resume_path(Stage::Vqvae);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (n, told) = latest();
        let told = told.unwrap();
        assert_eq!(n, 2);
        assert!(told.contains("resuming from the checkpoint before it"), "{told}");

        numbered(4).publish(&run, false).unwrap();
        assert_eq!(latest(), (4, None));
        fs::write(&path, "x").unwrap();
        assert_eq!(latest().0, 2, "the good one before was not replaced by the damaged one");
        fs::remove_file(&path).unwrap();
        assert_eq!(latest().0, 2, "as after a crash between two renames");

        fs::write(run.previous_resume_path(Stage::Vqvae), "x").unwrap();
        assert!(ResumeState::latest(&run, Stage::Vqvae).is_err());
    }

    #[test]
    fn the_state_of_another_stage_is_refused() {
        let (_folder, path) = path();
        state().save(&path).unwrap();
        let error = ResumeState::load(&path, Stage::Prior).unwrap_err().to_string();
        assert!(error.ends_with("is a state of vqvae, expected one of prior"), "{error}");
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (_folder, path) = path();
        state().save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert!(ResumeState::load(&path, Stage::Vqvae).is_err(), "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(ResumeState::load(&path, Stage::Vqvae).is_err(), "length {at}");
        }
    }

    #[test]
    fn a_state_that_is_not_finite_or_ambiguous_is_not_taken() {
        let mut state = state();
        let error = state.insert("adamw.v.", vec![tensor("a", &[f32::NAN])]).unwrap_err();
        assert!(error.to_string().contains("adamw.v.a holds NaN"), "{error}");
        let error = state.insert("model.", vec![tensor("a", &[1.0])]).unwrap_err();
        assert!(error.to_string().contains("model.a appears twice"), "{error}");
    }

    #[test]
    fn counters_of_another_shape_are_named() {
        let error = state().counters::<Vec<u64>>().unwrap_err().to_string();
        assert!(error.contains("state in the metadata"), "{error}");
    }
}
