//! Paths of the files of a run: `checkpoints/<name>/`. It knows names, not contents; only the resolved recipe passes
//! through it, as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::disk::atomic;
use crate::error::{Error, Result};

/// A training stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The tokenizer.
    Vqvae,
    /// The GPT over codes.
    Prior,
}

impl Stage {
    /// As spelled in file names, the metrics log and recipe keys: "vqvae", "prior".
    pub fn name(self) -> &'static str {
        match self {
            Self::Vqvae => "vqvae",
            Self::Prior => "prior",
        }
    }
}

/// The folder of a run. Nothing is created before [`RunDir::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The run in the folder `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Creates the folder and its subfolders.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(&self) -> Result<()> {
        atomic::create_dir(self.resume_dir())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The run's name: the last component of the path; "run" where there is none, as in "..".
    pub fn name(&self) -> String {
        self.0.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The resolved recipe.
    pub fn recipe_path(&self) -> PathBuf {
        self.0.join("recipe.json")
    }

    /// The best model of a stage: `vqvae.safetensors`, `prior.safetensors`.
    pub fn model_path(&self, stage: Stage) -> PathBuf {
        self.0.join(format!("{}.safetensors", stage.name()))
    }

    /// The codes of all images.
    pub fn codes_path(&self) -> PathBuf {
        self.0.join("codes.safetensors")
    }

    /// The metrics log.
    pub fn metrics_path(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The file that a process locks to write into the run.
    pub fn lock_path(&self) -> PathBuf {
        self.0.join(".lock")
    }

    /// The folder of the resume states.
    pub fn resume_dir(&self) -> PathBuf {
        self.0.join("resume")
    }

    /// The newest checkpoint of a stage.
    pub fn resume_path(&self, stage: Stage) -> PathBuf {
        self.resume_dir().join(format!("{}.safetensors", stage.name()))
    }

    /// The checkpoint before the newest one.
    pub fn previous_resume_path(&self, stage: Stage) -> PathBuf {
        self.resume_dir().join(format!("{}.previous.safetensors", stage.name()))
    }

    /// Every file that a stage may have.
    pub fn files_of(&self, stage: Stage) -> [PathBuf; 3] {
        [self.model_path(stage), self.resume_path(stage), self.previous_resume_path(stage)]
    }

    /// Whether there is a checkpoint to resume from.
    pub fn has_checkpoint(&self, stage: Stage) -> bool {
        self.resume_path(stage).exists() || self.previous_resume_path(stage).exists()
    }

    /// Whether the stage has begun in this folder: it has a model or a checkpoint.
    pub fn has_stage(&self, stage: Stage) -> bool {
        self.model_path(stage).exists() || self.has_checkpoint(stage)
    }

    /// Writes the resolved recipe.
    ///
    /// # Errors
    /// I/O errors.
    pub fn save_recipe<R: Serialize>(&self, recipe: &R) -> Result<()> {
        write_json(self.recipe_path(), recipe)
    }

    /// Reads the resolved recipe, or part of it.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a recipe.
    pub fn load_recipe<R: DeserializeOwned>(&self) -> Result<R> {
        let path = self.recipe_path();
        let bytes = atomic::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e.to_string()))
    }
}

/// Writes a value as indented JSON with a final newline, atomically. The folder must exist.
///
/// # Errors
/// A value that cannot be serialised, and I/O errors.
pub(crate) fn write_json<T: Serialize>(path: impl AsRef<Path>, value: &T) -> Result<()> {
    let path = path.as_ref();
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::invalid(format!("cannot write {}: {e}", path.display())))?;
    text.push('\n');
    atomic::write(path, text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_run_is_named_after_its_folder() {
        assert_eq!(RunDir::new("checkpoints/birds").name(), "birds");
        assert_eq!(RunDir::new("birds/").name(), "birds");
        assert_eq!(RunDir::new("..").name(), "run");
    }

    #[test]
    fn the_recipe_is_saved_with_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path().join("a/b"));
        run.create().unwrap();
        let recipe = json!({"name": "b", "vqvae": {"learning_rate": 3e-4}});
        run.save_recipe(&recipe).unwrap();
        assert_eq!(run.load_recipe::<Value>().unwrap(), recipe);
        assert!(run.resume_dir().is_dir());
    }

    #[test]
    fn a_broken_recipe_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert!(run.load_recipe::<Value>().unwrap_err().to_string().starts_with("cannot read"));
        std::fs::write(run.recipe_path(), "{\"name\": ").unwrap();
        let error = run.load_recipe::<Value>().unwrap_err().to_string();
        assert!(error.contains("recipe.json: EOF"), "{error}");
    }

    #[test]
    fn a_stage_has_begun_with_a_model_or_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        run.create().unwrap();
        assert!(!run.has_stage(Stage::Vqvae));
        std::fs::write(run.resume_path(Stage::Vqvae), "").unwrap();
        std::fs::write(run.model_path(Stage::Prior), "").unwrap();
        assert!(run.has_stage(Stage::Vqvae) && run.has_stage(Stage::Prior));
    }
}
