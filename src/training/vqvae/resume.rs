//! What a checkpoint of stage 1 holds besides the loop's own: model, optimizer, codebook statistics.

use serde_json::Value;

use super::run::Run;
use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::tokenizer::EmaCodebook;
use crate::training::state::{insert_moments, take_moments};

impl Run<'_> {
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

    pub(super) fn take_tensors(&mut self, state: &mut ResumeState, updates: u64) -> Result<()> {
        let trainer = &mut self.trainer;
        trainer.tokenizer = state.take_module("model.", trainer.tokenizer.clone())?;
        take_moments(state, &mut trainer.optimizer, &trainer.tokenizer, updates, self.device)?;
        let config = trainer.tokenizer.config();
        let (codes, dim) = (config.codebook_size, config.code_dim);
        if trainer.ema.is_some() {
            trainer.ema = Some(EmaCodebook::restored(
                state.take_one("extra.ema_counts", &[codes])?.to_tensor(self.device)?,
                state.take_one("extra.ema_sums", &[codes, dim])?.to_tensor(self.device)?,
                updates,
                self.recipe.vqvae.ema_decay,
            ));
        }
        trainer.idle.steps = state.take_one("extra.idle", &[codes])?.to_tensor(self.device)?;
        self.counts = state.take_one("extra.counts", &[codes])?.to_tensor(self.device)?;
        Ok(())
    }
}

/// The part of the recipe that stage 1 depends on.
pub(super) fn settings(recipe: &Recipe) -> Result<Value> {
    let mut value = serde_json::to_value(&recipe.vqvae)
        .map_err(|error| Error::invalid(format!("the recipe cannot be written: {error}")))?;
    if let Value::Object(section) = &mut value {
        section.insert("seed".to_owned(), recipe.seed.into());
        section.insert("data.flip".to_owned(), recipe.data.flip.into());
        section.insert("data.crop".to_owned(), recipe.data.crop.into());
    }
    Ok(value)
}
