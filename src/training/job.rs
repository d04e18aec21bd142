//! What both stages' loops are told: where to begin, when to stop, and what came of it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::event::Event;
use crate::checkpoint::{RunDir, Stage};
use crate::error::{Error, Result};

/// Whether a loop starts anew or goes on.
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
pub struct Outcome {
    /// The last step made.
    pub step: u64,
    /// The best value on the validation split: the normalised error, or nats per code.
    pub best: Option<f64>,
    /// The step of the best value.
    pub best_step: u64,
}

/// What a loop needs besides its data: the run folder, where to begin, a flag that asks it to stop, and who
/// hears what happens.
pub struct Job<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// Where to begin.
    pub begin: Begin,
    /// Set from outside to stop after the step under way.
    pub stop: &'a AtomicBool,
    /// Hears the events.
    pub emit: &'a mut dyn FnMut(Event),
}

impl Job<'_> {
    /// Whether to go on from a checkpoint; refuses what [`Begin`] says.
    pub(super) fn resumes(&self, stage: Stage) -> Result<bool> {
        let state = self.run.resume_path(stage);
        match self.begin {
            Begin::Fresh if self.run.has_stage(stage) => Err(Error::invalid(format!(
                "{} already holds a {} stage: go on with --resume, or name another run with --run",
                self.run.path().display(),
                stage.name()
            ))),
            Begin::Fresh => Ok(false),
            Begin::Resume if !state.exists() => Err(Error::invalid(format!(
                "there is nothing to resume: {} does not exist (leave out --resume to start)",
                state.display()
            ))),
            Begin::Resume => Ok(true),
            Begin::Either => Ok(state.exists()),
        }
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Keys of a section that may differ between a checkpoint and the run that goes on from it.
const FREE_KEYS: [&str; 4] = ["steps", "log_every", "validate_every", "checkpoint_every"];

/// Refuses to go on under settings other than those of the checkpoint; the message lists the keys.
pub(super) fn check_same_settings(section: &str, saved: &Value, now: &Value) -> Result<()> {
    let (Value::Object(saved), Value::Object(now)) = (saved, now) else {
        return Err(Error::invalid("the checkpoint does not say what it was trained with"));
    };
    let differing: Vec<String> = now
        .iter()
        .filter(|(key, value)| {
            !FREE_KEYS.contains(&key.as_str()) && saved.get(*key) != Some(*value)
        })
        .map(|(key, value)| {
            let before = saved.get(key).unwrap_or(&Value::Null);
            format!("{section}.{key} was {before} and is now {value}")
        })
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot resume under another recipe: {} (use the recipe of the run folder, or another --run)",
        differing.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_number_of_steps_may_be_resumed_and_another_width_may_not() {
        let saved = json!({"steps": 10, "width": 8});
        assert!(check_same_settings("vqvae", &saved, &json!({"steps": 20, "width": 8})).is_ok());
        let Err(error) = check_same_settings("vqvae", &saved, &json!({"steps": 10, "width": 9}))
        else {
            panic!("accepted");
        };
        assert!(error.to_string().contains("vqvae.width was 8 and is now 9"), "{error}");
    }
}
