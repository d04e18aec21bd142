//! The inputs and outcome of both stages' loops: where to begin, when to stop, and the result.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::event::Event;
use crate::checkpoint::{ModelFile, RunDir, Stage};
use crate::error::{Error, Result};
use crate::keys::OnResume;
use crate::recipe;

/// Whether a loop starts or resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// From step 0; a folder that already holds the stage is refused.
    Fresh,
    /// From the last checkpoint; a folder without one is refused.
    Resume,
    /// From the last checkpoint if there is one.
    Either,
}

/// How a loop ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageOutcome {
    /// The last step taken.
    pub step: u64,
    /// The best validation score: the normalised error, or nats per code.
    pub best: Option<f64>,
    /// The step of the best score.
    pub best_step: u64,
}

/// What a loop needs besides its data: the run folder, where to begin, a stop flag, and a receiver of events.
pub struct Job<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// Where to begin.
    pub begin: Begin,
    /// A model whose weights a new training starts from, as far as they fit.
    pub from: Option<&'a ModelFile>,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
    /// Receives the events.
    pub emit: &'a mut dyn FnMut(Event),
}

impl Begin {
    /// Whether to resume from a checkpoint of `stage`.
    ///
    /// # Errors
    /// The contents of the run folder do not fit the variant.
    pub fn resumes(self, run: &RunDir, stage: Stage) -> Result<bool> {
        let has_checkpoint = run.has_checkpoint(stage);
        match self {
            Self::Fresh if run.has_stage(stage) => Err(Error::invalid(format!(
                "{} already holds a {} stage: resume with --resume, name another run with --run, or add --discard to \
                 retrain it",
                run.path().display(),
                stage.name(),
            ))),
            Self::Fresh => Ok(false),
            Self::Resume if !has_checkpoint => Err(Error::invalid(format!(
                "there is nothing to resume: {} does not exist (leave out --resume to start)",
                run.resume_path(stage).display()
            ))),
            Self::Resume => Ok(true),
            Self::Either if !has_checkpoint && run.has_stage(stage) => {
                Err(Error::invalid(format!(
                    "{} exists and there is no checkpoint to resume from: use it with the other commands, name \
                 another run with --run, or add --discard to retrain it",
                    run.model_path(stage).display()
                )))
            }
            Self::Either => Ok(has_checkpoint),
        }
    }
}

impl Job<'_> {
    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Compares the settings of a checkpoint with the current ones: returns notes on those that may change, as declared
/// with each key. `section` is that of the keys without one.
///
/// # Errors
/// Settings that must not change differ; the message lists the keys.
pub(super) fn check_same_settings(
    section: &str,
    saved: &Value,
    now: &Value,
) -> Result<Vec<String>> {
    let (Value::Object(saved), Value::Object(now)) = (saved, now) else {
        return Err(Error::invalid("the checkpoint does not say what it was trained with"));
    };
    let mut changes = Changes::default();
    changes.collect(section, saved, now);
    let Changes { refused, told } = changes;
    if refused.is_empty() {
        return Ok(told);
    }
    Err(Error::invalid(format!(
        "cannot resume under another recipe: {} (set it back with --set, or name another run with --run)",
        refused.join(", ")
    )))
}

/// Changed settings, in words.
#[derive(Debug, Default)]
struct Changes {
    refused: Vec<String>,
    told: Vec<String>,
}

impl Changes {
    /// Adds what differs between two sections of this path.
    fn collect(&mut self, section: &str, saved: &Map<String, Value>, now: &Map<String, Value>) {
        let none = Map::new();
        for (key, value) in now {
            // Keys from outside the section have their full paths.
            let path =
                if key == "seed" || key.contains('.') { key } else { &format!("{section}.{key}") };
            if let Value::Object(now) = value {
                let saved = saved.get(key).and_then(Value::as_object);
                self.collect(path, saved.unwrap_or(&none), now);
                continue;
            }
            let declared = recipe::key(path);
            // A key that was added after the checkpoint had the value that recipes without it get.
            let before = saved.get(key).cloned();
            let before = before.or_else(|| declared.map(|key| (key.default)())).unwrap_or_default();
            if before == *value {
                continue;
            }
            match declared.map_or(OnResume::Refused, |key| key.on_resume) {
                OnResume::Silent => {}
                OnResume::Told => {
                    self.told.push(format!("continuing with {path} {value}; it was {before}"));
                }
                OnResume::Refused => {
                    self.refused.push(format!("{path} was {before} and is now {value}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_number_of_steps_may_be_resumed_and_another_width_may_not() {
        let saved = json!({"steps": 10, "width": 8, "learning_rate": 0.5});
        let now = json!({"steps": 20, "width": 8, "learning_rate": 0.25});
        let told = check_same_settings("vqvae", &saved, &now).unwrap_or_default();
        assert_eq!(told, ["continuing with vqvae.learning_rate 0.25; it was 0.5"]);
        let Err(error) = check_same_settings("vqvae", &saved, &json!({"steps": 10, "width": 9}))
        else {
            panic!("accepted");
        };
        assert!(error.to_string().contains("vqvae.width was 8 and is now 9"), "{error}");
    }

    #[test]
    fn what_a_resume_may_change_depends_on_the_key() {
        // Whether a change is noted, or `None` where the resume is refused.
        let change = |section: &str, key: &str| {
            let (saved, now) = (json!({ key: 0 }), json!({ key: 1 }));
            check_same_settings(section, &saved, &now).ok().map(|told| !told.is_empty())
        };
        for section in ["vqvae", "prior"] {
            for key in ["steps", "log_every", "validate_every", "checkpoint_every"] {
                assert_eq!(change(section, key), Some(false), "{section}.{key}");
            }
            for key in [
                "learning_rate",
                "weight_decay",
                "warmup_steps",
                "gradient_clip",
                "skip_non_finite",
            ] {
                assert_eq!(change(section, key), Some(true), "{section}.{key}");
            }
            for key in ["preset", "width", "batch_size", "seed", "data.flip", "no_such_key"] {
                assert_eq!(change(section, key), None, "{section}.{key}");
            }
        }
        for key in ["commitment", "restart_after", "schedule"] {
            assert_eq!(change("vqvae", key), Some(true), "{key}");
        }
        for key in ["min_learning_rate", "beta2", "dropout", "class_dropout", "patience"] {
            assert_eq!(change("prior", key), Some(true), "{key}");
        }
    }

    #[test]
    fn a_key_that_is_younger_than_the_checkpoint_had_its_default() {
        let saved = json!({ "width": 8 });
        let same = json!({ "width": 8, "normalize_codes": false });
        assert_eq!(check_same_settings("vqvae", &saved, &same).ok(), Some(Vec::new()));
        let other = json!({ "width": 8, "normalize_codes": true });
        let Err(error) = check_same_settings("vqvae", &saved, &other) else { panic!("accepted") };
        let expected = "vqvae.normalize_codes was false and is now true";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
