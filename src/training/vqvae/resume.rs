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
use crate::training::state::{check_counters, insert_moments, take_moments};

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
        let mut updates = vec![counters.adamw_steps];
        updates.extend(trainer.ema.as_ref().map(|_| counters.ema_updates));
        let counted = [counters.interval_steps, counters.best_step];
        check_counters(counters.step, &updates, &counted, &path)?;
        trainer.tokenizer = state.take_module("model.", trainer.tokenizer.clone())?;
        let steps = counters.adamw_steps;
        let optimizer = &mut trainer.optimizer;
        take_moments(&mut state, optimizer, &trainer.tokenizer, steps, self.device, &path)?;
        let mut extra = state.take("extra.");
        let mut take = |name: &str, shape: &[usize]| -> Result<NamedTensor> {
            let place = extra.iter().position(|tensor| tensor.name == name);
            let place = place.ok_or_else(|| Error::file(&path, format!("has no extra.{name}")))?;
            let tensor = extra.swap_remove(place);
            tensor.expect_shape(shape, &path)?;
            Ok(tensor)
        };
        let config = trainer.tokenizer.config();
        let (codes, dim) = (config.codebook_size, config.code_dim);
        if trainer.ema.is_some() {
            trainer.ema = Some(EmaCodebook::restored(
                take("ema_counts", &[codes])?.to_tensor(self.device)?,
                take("ema_sums", &[codes, dim])?.to_tensor(self.device)?,
                counters.ema_updates,
                self.recipe.vqvae.ema_decay,
            ));
        }
        trainer.idle.steps = take("idle", &[codes])?.to_tensor(self.device)?;
        self.counts = take("counts", &[codes])?.to_tensor(self.device)?;
        let sums = take("interval", &[Interval::<4>::LEN])?.to_tensor(self.device)?;
        self.interval = Interval::restored(sums, counters.interval_steps);
        if let Some(tensor) = extra.first() {
            let message =
                format!("holds extra.{}, which this recipe has no place for", tensor.name);
            return Err(Error::file(&path, message));
        }
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
