//! The checkpoint of stage 1: everything the loop changes, in one file, and back.

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::checkpoint::{NamedTensor, ResumeState, Stage};
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::tokenizer::EmaCodebook;
use crate::training::Event;
use crate::training::interval::Interval;
use crate::training::job::{Job, check_same_settings};
use crate::training::state::{insert_moments, take_moments};

/// What resuming needs besides tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Counters {
    step: u64,
    seed: u64,
    adamw_steps: u64,
    ema_updates: u64,
    best: Option<f64>,
    best_step: u64,
    interval_steps: u64,
    dataset: String,
    settings: serde_json::Value,
}

impl Run<'_> {
    pub(super) fn save(&self, job: &mut Job) -> Result<()> {
        let ema = self.trainer.ema.as_ref();
        let counters = Counters {
            step: self.step,
            seed: self.recipe.seed,
            adamw_steps: self.trainer.optimizer.steps(),
            ema_updates: ema.map_or(0, |ema| ema.updates),
            best: self.best,
            best_step: self.best_step,
            interval_steps: self.interval.steps,
            dataset: self.dataset.fingerprint().to_owned(),
            settings: settings(self.recipe)?,
        };
        let mut state = ResumeState::new(Stage::Vqvae, &counters)?;
        state.insert_module("model.", &self.trainer.tokenizer)?;
        insert_moments(&mut state, &self.trainer.optimizer)?;
        let mut extra = vec![
            NamedTensor::from_tensor("idle", &self.trainer.idle.steps)?,
            NamedTensor::from_tensor("interval", &self.interval.sums)?,
            NamedTensor::from_tensor("counts", &self.counts)?,
        ];
        if let Some(ema) = ema {
            extra.push(NamedTensor::from_tensor("ema_counts", &ema.counts)?);
            extra.push(NamedTensor::from_tensor("ema_sums", &ema.sums)?);
        }
        state.insert("extra.", extra)?;
        let path = job.run.resume_path(Stage::Vqvae);
        state.save(&path)?;
        (job.emit)(Event::Saved { path, step: self.step as usize });
        Ok(())
    }

    pub(super) fn restore(&mut self, job: &Job) -> Result<()> {
        let path = job.run.resume_path(Stage::Vqvae);
        let mut state = ResumeState::load(&path, Stage::Vqvae)?;
        let counters: Counters = state.counters()?;
        check_same_settings("vqvae", &counters.settings, &settings(self.recipe)?)?;
        if counters.dataset != self.dataset.fingerprint() {
            return Err(Error::file(
                &path,
                format!(
                    "was trained on data {}, the data set is now {} (images were added, removed or \
                     changed; train anew in another --run)",
                    counters.dataset,
                    self.dataset.fingerprint()
                ),
            ));
        }
        let trainer = &mut self.trainer;
        trainer.tokenizer = state.take_module("model.", trainer.tokenizer.clone())?;
        take_moments(&mut state, &mut trainer.optimizer, counters.adamw_steps, self.device)?;
        let mut take = |name: &str| -> Result<NamedTensor> {
            let mut found = state.take(&format!("extra.{name}"));
            let tensor = found.pop().filter(|_| found.is_empty());
            tensor.ok_or_else(|| Error::file(&path, format!("has no extra.{name}")))
        };
        if trainer.ema.is_some() {
            trainer.ema = Some(EmaCodebook::restored(
                take("ema_counts")?.to_tensor(self.device)?,
                take("ema_sums")?.to_tensor(self.device)?,
                counters.ema_updates,
                self.recipe.vqvae.ema_decay,
            ));
        }
        trainer.idle.steps = take("idle")?.to_tensor(self.device)?;
        self.counts = take("counts")?.to_tensor(self.device)?;
        let sums = take("interval")?.to_tensor(self.device)?;
        self.interval = Interval::restored(sums, counters.interval_steps);
        state.expect_empty()?;
        self.step = counters.step;
        self.best = counters.best;
        self.best_step = counters.best_step;
        Ok(())
    }
}

/// What must be the same for a resumed run to be the run that was stopped.
fn settings(recipe: &Recipe) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(&recipe.vqvae)
        .map_err(|error| Error::invalid(format!("the recipe cannot be written: {error}")))?;
    if let serde_json::Value::Object(section) = &mut value {
        section.insert("seed".to_owned(), recipe.seed.into());
        section.insert("flip".to_owned(), recipe.data.flip.into());
        section.insert("crop".to_owned(), recipe.data.crop.into());
    }
    Ok(value)
}
