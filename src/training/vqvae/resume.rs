//! What a checkpoint of stage 1 holds besides the loop's own: model, optimizer, codebook statistics.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::Run;
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::tokenizer::EmaCodebook;
use crate::training::state::{insert_moments, take_moments};

/// What it needs besides tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Counters {
    adamw_steps: u64,
    ema_updates: u64,
}

impl Run<'_> {
    pub(super) fn own_counters(&self) -> Value {
        let ema = self.trainer.ema.as_ref();
        json!(Counters {
            adamw_steps: self.trainer.optimizer.steps(),
            ema_updates: ema.map_or(0, |ema| ema.updates),
        })
    }

    pub(super) fn save_tensors(&self, state: &mut ResumeState) -> Result<()> {
        state.insert_module("model.", &self.trainer.tokenizer)?;
        insert_moments(state, &self.trainer.optimizer)?;
        let mut extra = vec![
            NamedTensor::from_tensor("idle", &self.trainer.idle.steps)?,
            NamedTensor::from_tensor("counts", &self.counts)?,
        ];
        if let Some(ema) = &self.trainer.ema {
            extra.push(NamedTensor::from_tensor("ema_counts", &ema.counts)?);
            extra.push(NamedTensor::from_tensor("ema_sums", &ema.sums)?);
        }
        state.insert("extra.", extra)
    }

    pub(super) fn restore_from(&mut self, state: &mut ResumeState, counters: Value) -> Result<()> {
        let counters: Counters = serde_json::from_value(counters)
            .map_err(|e| Error::file(state.source(), format!("stage in the counters: {e}")))?;
        let trainer = &mut self.trainer;
        trainer.tokenizer = state.take_module("model.", trainer.tokenizer.clone())?;
        take_moments(state, &mut trainer.optimizer, counters.adamw_steps, self.device)?;
        if trainer.ema.is_some() {
            trainer.ema = Some(EmaCodebook::restored(
                state.take_one("extra.ema_counts")?.to_tensor(self.device)?,
                state.take_one("extra.ema_sums")?.to_tensor(self.device)?,
                counters.ema_updates,
                self.recipe.vqvae.ema_decay,
            ));
        }
        trainer.idle.steps = state.take_one("extra.idle")?.to_tensor(self.device)?;
        self.counts = state.take_one("extra.counts")?.to_tensor(self.device)?;
        Ok(())
    }
}

/// The part of the recipe that stage 1 depends on.
pub(super) fn settings(recipe: &Recipe) -> Result<Value> {
    let mut value = serde_json::to_value(&recipe.vqvae)
        .map_err(|error| Error::invalid(format!("the recipe cannot be written: {error}")))?;
    if let Value::Object(section) = &mut value {
        section.insert("seed".to_owned(), recipe.seed.into());
        section.insert("flip".to_owned(), recipe.data.flip.into());
        section.insert("crop".to_owned(), recipe.data.crop.into());
    }
    Ok(value)
}
