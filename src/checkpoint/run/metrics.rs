//! `metrics.jsonl`: one JSON object per line, `{"stage": "vqvae", "step": 100, "split": "train", "loss": 0.1, …}`. It
//! is the only file that grows in place. A crash can truncate its last line, and a resumed run repeats the steps after
//! its checkpoint: opening the log removes both, so that every step appears once.
//!
//! A value that is not finite is written as null (JSON has no other form for it): a diverging loss has to show in the
//! log, not end it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::run_dir::Stage;
use crate::checkpoint::disk::atomic;
use crate::error::{Error, Result};

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// "vqvae" or "prior".
    pub stage: String,
    /// Optimizer steps taken.
    pub step: u64,
    /// "train", "validation" or "test".
    pub split: String,
    /// The named values; `None` for one that was not finite.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

/// The log of a stage, open for appending.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    stage: Stage,
}

impl MetricsLog {
    /// Opens or creates the log for `stage`, to continue after `last_step` (`None`: from the beginning). Later lines of
    /// the stage are removed; those of the other stage stay.
    ///
    /// # Errors
    /// A line that is not an object of the above form, other than a truncated last one.
    pub fn open(path: impl AsRef<Path>, stage: Stage, last_step: Option<u64>) -> Result<Self> {
        let path = path.as_ref();
        if path.exists() {
            let text = atomic::read(path)?;
            let mut kept = Vec::with_capacity(text.len());
            for (line, bytes) in whole_lines(path, &text)? {
                let past = last_step.is_none_or(|last| line.step > last);
                if line.stage != stage.name() || !past {
                    kept.extend_from_slice(bytes);
                    kept.push(b'\n');
                }
            }
            if kept != text {
                atomic::write(path, &kept)?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|e| Error::io("open", path, e))?;
        Ok(Self { path: path.to_path_buf(), file, stage })
    }

    /// Appends a line, values in the order given. It has been passed to the operating system when this returns.
    ///
    /// # Errors
    /// A duplicate name, and I/O errors.
    pub fn append(&mut self, step: u64, split: &str, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("stage".to_owned(), self.stage.name().into());
        line.insert("step".to_owned(), step.into());
        line.insert("split".to_owned(), split.into());
        for (name, value) in values {
            // `Value::from` turns what is not finite into null.
            if line.insert((*name).to_owned(), Value::from(*value)).is_some() {
                return Err(Error::invalid(format!("the metric {name} appears twice in one line")));
            }
        }
        let text = format!("{}\n", Value::Object(line));
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io("write", &self.path, e))
    }

    /// Syncs the log, so that it survives a power loss; for checkpoints.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("write", &self.path, e))
    }

    /// All lines of a log except a truncated last one; none if there is no log.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not an object of the above form.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<MetricsLine>> {
        let path = path.as_ref();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = atomic::read(path)?;
        Ok(whole_lines(path, &text)?.into_iter().map(|(line, _)| line).collect())
    }
}

/// The lines that end in a newline, parsed and verbatim, without empty ones.
fn whole_lines<'a>(path: &Path, text: &'a [u8]) -> Result<Vec<(MetricsLine, &'a [u8])>> {
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let lines = text[..end].split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(index, bytes)| match serde_json::from_slice(bytes) {
            Ok(line) => Ok((line, bytes)),
            Err(e) => Err(Error::file(path, format!("line {}: {e}", index + 1))),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;

    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        (folder, path)
    }

    fn steps(path: &Path) -> Vec<(String, u64)> {
        MetricsLog::read(path).unwrap().into_iter().map(|line| (line.stage, line.step)).collect()
    }

    #[test]
    fn lines_are_written_as_documented() {
        let (_folder, path) = path();
        let mut log = MetricsLog::open(&path, Stage::Vqvae, None).unwrap();
        log.append(10, "train", &[("loss", 0.5), ("commitment", f64::NAN)]).unwrap();
        log.sync().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"stage\":\"vqvae\",\"step\":10,\"split\":\"train\",\"loss\":0.5,\"commitment\":null}\n"
        );
        let line = &MetricsLog::read(&path).unwrap()[0];
        assert_eq!((line.step, line.split.as_str()), (10, "train"));
        assert_eq!(line.values["loss"], Some(0.5));
        assert_eq!(line.values["commitment"], None);
    }

    #[test]
    fn a_resumed_stage_loses_its_later_lines_and_no_others() {
        let (_folder, path) = path();
        let mut vqvae = MetricsLog::open(&path, Stage::Vqvae, None).unwrap();
        for step in [1, 2, 3] {
            vqvae.append(step, "train", &[("loss", 1.0)]).unwrap();
        }
        let mut prior = MetricsLog::open(&path, Stage::Prior, None).unwrap();
        prior.append(3, "train", &[]).unwrap();
        let mut resumed = MetricsLog::open(&path, Stage::Vqvae, Some(2)).unwrap();
        resumed.append(3, "train", &[("loss", 1.0)]).unwrap();
        let expected = [("vqvae", 1), ("vqvae", 2), ("prior", 3), ("vqvae", 3)];
        assert_eq!(steps(&path), expected.map(|(stage, step)| (stage.to_owned(), step)));
        MetricsLog::open(&path, Stage::Vqvae, None).unwrap();
        assert_eq!(steps(&path), [("prior".to_owned(), 3)]);
    }

    #[test]
    fn kept_lines_keep_their_bytes() {
        let (_folder, path) = path();
        let line = "{\"stage\": \"vqvae\",  \"step\": 1, \"split\": \"train\", \"x\": 1.50}\n";
        fs::write(&path, line).unwrap();
        MetricsLog::open(&path, Stage::Vqvae, Some(1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), line);
    }

    #[test]
    fn a_torn_last_line_is_removed() {
        let (_folder, path) = path();
        for torn in
            ["{\"stage\":\"vqvae\",\"st", "{\"stage\":\"vqvae\",\"step\":2,\"split\":\"train\"}"]
        {
            let whole = "{\"stage\":\"vqvae\",\"step\":1,\"split\":\"train\"}\n";
            fs::write(&path, format!("{whole}{torn}")).unwrap();
            assert_eq!(steps(&path), [("vqvae".to_owned(), 1)]);
            MetricsLog::open(&path, Stage::Vqvae, Some(5)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        }
        fs::write(&path, "{\"sta").unwrap();
        MetricsLog::open(&path, Stage::Vqvae, Some(5)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_that_names_it() {
        let (_folder, path) = path();
        fs::write(&path, "{\"stage\":\"vqvae\",\"step\":1,\"split\":\"train\"}\nhello\n").unwrap();
        let error = MetricsLog::open(&path, Stage::Vqvae, Some(1)).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 2:"), "{error}");
    }

    #[test]
    fn a_metric_must_not_come_twice_nor_shadow_the_step() {
        let (_folder, path) = path();
        let mut log = MetricsLog::open(&path, Stage::Prior, None).unwrap();
        assert!(log.append(1, "train", &[("step", 1.0)]).is_err());
        assert!(log.append(1, "train", &[("a", 1.0), ("a", 1.0)]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_log_that_does_not_exist_has_no_lines() {
        assert!(MetricsLog::read("no/such/metrics.jsonl").unwrap().is_empty());
    }
}
