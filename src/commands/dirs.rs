//! The folders of a run. It names them and creates none.

use std::path::{Path, PathBuf};

use crate::checkpoint::RunDir;
use crate::error::{Error, Result};

/// Where a run keeps its state and puts its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirs {
    /// The name of the run, the last part of each folder.
    pub name: String,
    /// The recipe, the models, the codes and the metrics: `checkpoints/<name>`, or what `--run` says.
    pub dir: RunDir,
    /// Sampled images: `generations/<name>`.
    pub generations: PathBuf,
    /// Reconstructed images: `reconstructions/<name>`.
    pub reconstructions: PathBuf,
}

impl RunDirs {
    /// The folders of the run `name`, below the working directory.
    pub fn named(name: &str) -> Self {
        Self::new(name, &Path::new("checkpoints").join(name))
    }

    /// The folders of the run in `dir`, whose last part is the name.
    ///
    /// # Errors
    /// A folder without a last part that is text, as `/` is.
    pub fn at(dir: &Path) -> Result<Self> {
        // `.` and `..` have a name only as the folder they stand for.
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
                "--run is {}, but the last part of the folder is the name of the run",
                dir.display()
            ))),
        }
    }

    fn new(name: &str, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            dir: RunDir::new(dir),
            generations: Path::new("generations").join(name),
            reconstructions: Path::new("reconstructions").join(name),
        }
    }
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
        assert_eq!(dirs.generations, Path::new("generations/birds-2"));
    }

    #[test]
    fn the_working_directory_has_a_name_and_the_root_has_none() {
        assert!(!RunDirs::at(Path::new(".")).unwrap().name.is_empty());
        assert!(RunDirs::at(Path::new("/")).is_err());
    }
}
