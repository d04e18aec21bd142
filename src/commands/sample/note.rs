//! What made a picture of samples: written beside it and into it, shown by `inspect`, and repeated by `sample --like`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::GlobalArgs;
use crate::data::{is_description, picture_text};
use crate::error::{Error, Result};
use crate::recipe::{Override, PrecisionChoice};
use crate::sampling::GuidanceSchedule;

/// All that a picture of samples depends on, but for the files of the models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::commands) struct Note {
    // First: descriptions are told by it.
    pub(super) vqgen: String,
    /// The name of the run.
    pub(super) run: String,
    /// The model inside the binary, where it was none of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// Fingerprints of its models.
    pub(super) tokenizer: String,
    pub(super) prior: String,
    pub(super) seed: u64,
    pub(super) precision: PrecisionChoice,
    /// Images of the grid.
    pub(super) count: usize,
    pub(super) columns: usize,
    pub(super) scale: usize,
    pub(super) temperature: f64,
    pub(super) top_k: usize,
    pub(super) top_p: f64,
    pub(super) min_p: f64,
    pub(super) best_of: usize,
    pub(super) guidance: f64,
    pub(super) guidance_schedule: GuidanceSchedule,
    /// Passes of a masked prior.
    pub(super) passes: usize,
    pub(super) images_a_pass: usize,
    /// What the rows of the grid show; they repeat when they run out.
    pub(super) rows: Vec<NoteRow>,
    /// The name of the image that was completed.
    pub(super) complete: Option<String>,
    /// The codes that were kept of it.
    pub(super) given_codes: Vec<Option<u16>>,
    /// Which image of a seed it is, where the picture is a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<usize>,
}

/// What a row shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NoteRow {
    pub(super) class: Option<String>,
    pub(super) prompt: Option<String>,
}

impl Note {
    /// The note in the picture at `path`, or in the file beside it.
    ///
    /// # Errors
    /// A picture that vqgen did not sample, or a note that does not parse.
    pub(super) fn of_picture(path: &Path) -> Result<Self> {
        let text = text_of_picture(path)?;
        serde_json::from_str(&text).map_err(|error| {
            let message = format!("what made it cannot be repeated: {error}");
            Error::file(path, message)
        })
    }

    /// Why the picture of this note is not that of `other`, where models or devices differ.
    pub(super) fn differs_from(&self, other: &Self) -> Option<String> {
        let models = |note: &Self| (note.tokenizer.clone(), note.prior.clone());
        if models(self) != models(other) {
            return Some(format!(
                "--like: the picture was drawn by tokenizer {} and prior {}, this run has {} and {}: it will differ",
                other.tokenizer, other.prior, self.tokenizer, self.prior
            ));
        }
        (self.images_a_pass != other.images_a_pass).then(|| {
            "--like: the picture was drawn on another kind of device: some codes may differ"
                .to_owned()
        })
    }

    /// The note of image `index` of the grid alone: the same whatever is sampled with it.
    pub(super) fn of_image(&self, index: usize) -> Self {
        let row = index / self.columns % self.rows.len().max(1);
        let rows = self.rows.iter().skip(row).take(1).cloned().collect();
        Self { count: 1, columns: 1, rows, image: Some(index), ..self.clone() }
    }

    /// The text for the picture.
    pub(super) fn text(&self) -> String {
        // Its keys are strings and its numbers finite, so it has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `global` with the settings of the note, where it names none itself, and its run unless `names_models`.
    ///
    /// # Errors
    /// A run that is no name of a folder.
    pub(super) fn applied_to(&self, global: &GlobalArgs, names_models: bool) -> Result<GlobalArgs> {
        let flag =
            |key: &str, value: &dyn ToString| Override::of_flag("--like", key, value.to_string());
        let mut set = vec![
            flag("seed", &self.seed),
            flag("sample.count", &self.count),
            flag("sample.columns", &self.columns),
            flag("sample.scale", &self.scale),
            flag("sample.temperature", &self.temperature),
            flag("sample.top_k", &self.top_k),
            flag("sample.top_p", &self.top_p),
            flag("sample.guidance", &self.guidance),
            flag("sample.min_p", &self.min_p),
            flag("sample.best_of", &self.best_of),
            flag("sample.guidance_schedule", &self.guidance_schedule),
            flag("sample.passes", &self.passes),
        ];
        set.extend(global.set.iter().cloned());
        let mut global = GlobalArgs { set, ..global.clone() };
        global.precision = global.precision.or(Some(self.precision));
        if !names_models {
            let is_name = Path::new(&self.run).file_name().is_some_and(|name| *name == *self.run);
            if !is_name {
                return Err(Error::invalid(format!(
                    "--like: the picture is of the run `{}`, which is no name of a folder (name the run with --run)",
                    self.run
                )));
            }
            global.run = Some(Path::new("checkpoints").join(&self.run));
        }
        Ok(global)
    }
}

/// What made the picture at `path`, as JSON: from a PNG itself, or else from the file beside it.
///
/// # Errors
/// A picture that vqgen did not sample, or that cannot be read.
pub(in crate::commands) fn text_of_picture(path: &Path) -> Result<String> {
    let inside = picture_text(path);
    if let Ok(Some(text)) = inside {
        return Ok(text);
    }
    let beside = path.with_extension("json");
    if path.is_file() && is_description(&beside) {
        return std::fs::read_to_string(&beside).map_err(|error| Error::io("read", &beside, error));
    }
    inside?;
    Err(Error::file(
        path,
        "does not say what made it: vqgen writes that into the PNGs that it samples",
    ))
}
