//! The part of a checkpoint besides tensors: the progress of the loop and the settings it was trained with.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::job::check_same_settings;
use super::stage_run::Input;
use crate::checkpoint::{ResumeState, RunDir, Stage};
use crate::error::{Error, Result};

/// The counters of a loop.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) step: u64,
    pub(super) kept_step: Option<u64>,
    pub(super) kept_score: Option<f64>,
    pub(super) validations_without_better: usize,
    pub(super) skipped: u64,
    pub(super) interval_steps: u64,
    pub(super) input: String,
    pub(super) settings: Value,
}

impl Counters {
    /// Refuses step counts that contradict each other.
    pub(super) fn check(&self, source: &Path) -> Result<()> {
        let Self { step, skipped, interval_steps, .. } = *self;
        let kept_step = self.kept_step.unwrap_or(0);
        if skipped.max(interval_steps).max(kept_step) <= step {
            return Ok(());
        }
        Err(Error::file(
            source,
            format!(
                "state in the metadata: at step {step}, {skipped} steps are skipped, {interval_steps} in the \
                 interval, and the best one is {kept_step}"
            ),
        ))
    }

    /// Refuses to resume with other settings or another input; returns notes on changed settings that are allowed to
    /// change.
    pub(super) fn check_same(
        &self,
        stage: Stage,
        settings: &Value,
        input: &Input,
        source: &Path,
    ) -> Result<Vec<String>> {
        let told = check_same_settings(stage.name(), &self.settings, settings)?;
        let Input { noun, fingerprint } = input;
        if self.input == *fingerprint {
            return Ok(told);
        }
        Err(Error::file(
            source,
            format!(
                "was trained on {noun} {}, which are now {fingerprint}: something in them was added, removed or \
                 changed (name another run with --run, or add --discard without --resume to retrain it)",
                self.input
            ),
        ))
    }
}

/// The settings that a stage depends on: a section of the recipe, and keys from outside it under their full paths.
pub(super) fn settings<const N: usize>(
    section: &impl Serialize,
    others: [(&str, Value); N],
) -> Result<Value> {
    let mut value = serde_json::to_value(section)
        .map_err(|error| Error::invalid(format!("the recipe cannot be written: {error}")))?;
    if let Value::Object(section) = &mut value {
        section.extend(others.map(|(key, value)| (key.to_owned(), value)));
    }
    Ok(value)
}

/// The fingerprint of the input of the run's checkpoint of `stage`; `None` without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read.
pub(super) fn trained_on(run: &RunDir, stage: Stage) -> Result<Option<String>> {
    if !run.has_checkpoint(stage) {
        return Ok(None);
    }
    let (state, _) = ResumeState::latest(run, stage)?;
    Ok(Some(state.counters::<Counters>()?.input))
}

/// How many steps the run's checkpoint of `stage` has taken; `None` without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read or cannot be resumed with these settings and this input.
pub(super) fn steps_made(
    run: &RunDir,
    stage: Stage,
    settings: &Value,
    input: &Input,
) -> Result<Option<u64>> {
    if !run.has_checkpoint(stage) {
        return Ok(None);
    }
    let (state, _) = ResumeState::latest(run, stage)?;
    let counters: Counters = state.counters()?;
    counters.check_same(stage, settings, input, state.source())?;
    Ok(Some(counters.step))
}
