//! The folders of a run: their paths only; none is created.

use std::path::{Path, PathBuf};

use crate::checkpoint::RunDir;
use crate::error::{Error, Result};

/// Paths of a run's state and images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirs {
    /// The name of the run, the last component of each path.
    pub name: String,
    /// The recipe, the models, the codes and the metrics: `checkpoints/<name>`, or `--run`.
    pub dir: RunDir,
    /// Sampled images: `generations/<name>` for a run in `checkpoints/`, `generations` in the folder of any other.
    pub generations: PathBuf,
    /// Reconstructed images: `reconstructions/<name>` or `reconstructions` likewise.
    pub reconstructions: PathBuf,
}

impl RunDirs {
    /// The folders of the run `name`, below the working directory.
    pub fn named(name: &str) -> Self {
        Self::new(name, &Path::new("checkpoints").join(name))
    }

    /// The folders of the run in `dir`, whose last component is the name.
    ///
    /// # Errors
    /// A path without a last component in UTF-8, such as `/`.
    pub fn at(dir: &Path) -> Result<Self> {
        // `.` and `..` have a name only once resolved.
        let resolved;
        let named = if dir.file_name().is_none() {
            resolved = dir.canonicalize().map_err(|error| Error::io("find", dir, error))?;
            &resolved
        } else {
            dir
        };
        match named.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok(Self::new(name, dir)),
            None => Err(Error::invalid(format!(
                "{} has no last part, which would be the name of the run",
                dir.display()
            ))),
        }
    }

    /// The folders of pictures that the model `name` inside the binary draws; there is no folder of a run.
    pub(super) fn of_bundled(name: &str) -> Self {
        let pictures = |kind: &str| Path::new(kind).join(format!("model-{name}"));
        Self {
            name: name.to_owned(),
            dir: RunDir::new(Path::new("models").join(name)),
            generations: pictures("generations"),
            reconstructions: pictures("reconstructions"),
        }
    }

    /// Training previews of the tokenizer.
    pub fn previews(&self) -> PathBuf {
        self.reconstructions.join("training")
    }

    fn new(name: &str, dir: &Path) -> Self {
        // Runs elsewhere may have the same name, and must not share pictures.
        let pictures = |kind: &str| match is_in_checkpoints(dir) {
            true => Path::new(kind).join(name),
            false => dir.join(kind),
        };
        Self {
            name: name.to_owned(),
            dir: RunDir::new(dir),
            generations: pictures("generations"),
            reconstructions: pictures("reconstructions"),
        }
    }
}

/// Whether `dir` is in the folder `checkpoints` of the working directory, however the path is written.
fn is_in_checkpoints(dir: &Path) -> bool {
    let checkpoints = Path::new("checkpoints");
    let Some(parent) = dir.parent() else { return false };
    let resolved = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    parent.components().eq(checkpoints.components()) || resolved(parent) == resolved(checkpoints)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_run_folder_is_the_name() {
        let dirs = RunDirs::at(Path::new("experiments/birds-2/")).unwrap();
        assert_eq!(dirs.name, "birds-2");
        assert_eq!(dirs.dir.path(), Path::new("experiments/birds-2/"));
        assert_eq!(dirs.generations, Path::new("experiments/birds-2/generations"));
    }

    #[test]
    fn runs_of_one_name_share_pictures_only_in_checkpoints() {
        let pictures = |dir: &str| RunDirs::at(Path::new(dir)).unwrap().reconstructions;
        assert_eq!(pictures("checkpoints/mine"), Path::new("reconstructions/mine"));
        assert_eq!(pictures("./checkpoints/mine/"), Path::new("reconstructions/mine"));
        let absolute = std::path::absolute("checkpoints/mine").unwrap();
        assert_eq!(pictures(absolute.to_str().unwrap()), Path::new("reconstructions/mine"));
        assert_eq!(pictures("a/mine"), Path::new("a/mine/reconstructions"));
        assert_eq!(pictures("b/checkpoints/mine"), Path::new("b/checkpoints/mine/reconstructions"));
    }

    #[test]
    fn the_working_directory_has_a_name_and_the_root_has_none() {
        assert!(!RunDirs::at(Path::new(".")).unwrap().name.is_empty());
        assert!(RunDirs::at(Path::new("/")).is_err());
    }
}
