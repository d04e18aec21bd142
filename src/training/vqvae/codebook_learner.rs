//! Codebook learning besides the optimizer: initialisation from data, moving averages, restarts of unused codes. It
//! owns the statistics for these and their part of a checkpoint.

use burn::tensor::{Device, Int, Tensor};

use crate::checkpoint::{NamedTensor, ResumeState};
use crate::error::Result;
use crate::ops::nearest::counts_by_code;
use crate::recipe::{Codebook as CodebookRule, VqvaeSection};
use crate::rng::{Purpose, stream};
use crate::tokenizer::{Codebook, EmaCodebook, IdleCodes, draw_rows, kmeans, replace_rows};

/// Iterations of k-means when the codebook is initialised from data.
const KMEANS_ROUNDS: usize = 10;
/// Prefix of the statistics in a checkpoint.
const STATE: &str = "extra.";

/// The update rules of one codebook, and their statistics.
#[derive(Debug)]
pub struct CodebookLearner {
    /// The moving averages; `None` where the optimizer updates the codes.
    ema: Option<EmaCodebook>,
    /// `None` where no single code is learned.
    idle: Option<IdleCodes>,
    /// Codes unused for this many steps are restarted; 0 never.
    restart_after: u64,
    ema_decay: f64,
    seed: u64,
    /// The level of the codebook in its quantizer, from 0.
    level: u64,
}

impl CodebookLearner {
    /// The rules of `section` for `codebook`, that of `level` of the quantizer, whose weight requires a gradient only
    /// where the optimizer updates it.
    pub fn new(codebook: &mut Codebook, section: &VqvaeSection, seed: u64, level: usize) -> Self {
        let rule = section.codebook;
        let by_gradient = rule == CodebookRule::Gradient;
        codebook.weight = codebook.weight.clone().set_require_grad(by_gradient);
        let ema =
            (rule == CodebookRule::Ema).then(|| EmaCodebook::new(codebook, section.ema_decay));
        Self {
            idle: (by_gradient || ema.is_some()).then(|| IdleCodes::new(codebook)),
            ema,
            restart_after: section.restart_after as u64,
            ema_decay: section.ema_decay,
            seed,
            level: level as u64,
        }
    }

    /// The weight of the codebook loss.
    pub fn term_weight(&self) -> f64 {
        if self.ema.is_some() { 0.0 } else { 1.0 }
    }

    /// Initialises the codes by k-means over `latents`.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`, detached
    pub fn start(&self, codebook: &mut Codebook, latents: Tensor<2>) {
        let [codes, dim] = codebook.weight.dims();
        let rows = codebook.prepared(latents);
        let mut rng = stream(self.seed, Purpose::CodebookInit, 0, self.level);
        let centres = kmeans(rows, codes, KMEANS_ROUNDS, codebook.normalize, &mut rng);
        debug_assert_eq!(centres.dims(), [codes, dim]);
        self.replace(codebook, centres);
    }

    /// Processes the batch of optimizer step `step` (from 0): updates the codes by their averages and restarts idle
    /// ones; returns the number of positions assigned to each code, `[codes]`.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`, as compared with the codes, detached
    /// - `codes`: `[n]`
    pub fn update(
        &mut self,
        codebook: &mut Codebook,
        step: u64,
        latents: Tensor<2>,
        codes: Tensor<1, Int>,
    ) -> Tensor<1> {
        let restarts = self.restart_after > 0 && (step + 1).is_multiple_of(self.restart_after);
        // Kept only where they are needed, since a shared tensor is copied.
        let kept = restarts.then(|| latents.clone());
        let counts = match &mut self.ema {
            Some(ema) => {
                let current = codebook.weight.val().inner();
                let (vectors, counts) = ema.update(latents, codes, current);
                self.replace(codebook, vectors);
                counts
            }
            None => {
                let [n_codes, _] = codebook.weight.dims();
                counts_by_code(codes, n_codes)
            }
        };
        if let Some(idle) = &mut self.idle {
            idle.update(counts.clone());
        }
        if let Some(latents) = kept {
            self.restart_idle_codes(codebook, step, latents);
        }
        counts
    }

    fn restart_idle_codes(&mut self, codebook: &mut Codebook, step: u64, latents: Tensor<2>) {
        let Some(idle) = &mut self.idle else { return };
        let dead = idle.take(self.restart_after);
        if dead.is_empty() {
            return;
        }
        let mut rng = stream(self.seed, Purpose::Restart, step, self.level);
        let rows = draw_rows(latents, dead.len(), &mut rng);
        let current = codebook.weight.val().inner();
        let vectors = match &mut self.ema {
            Some(ema) => {
                ema.restart(&dead, rows);
                ema.vectors(current)
            }
            None => {
                let ids = Tensor::<1, Int>::from_data(dead.as_slice(), &rows.device());
                replace_rows(current, &ids, rows)
            }
        };
        self.replace(codebook, vectors);
    }

    /// Replaces the code vectors, keeping whether they require a gradient.
    fn replace(&self, codebook: &mut Codebook, vectors: Tensor<2>) {
        let trained = self.ema.is_none();
        codebook.weight =
            codebook.weight.clone().map(|_| Tensor::from_inner(vectors).set_require_grad(trained));
    }

    /// Saves the statistics to a checkpoint.
    pub(super) fn save(&self, state: &mut ResumeState) -> Result<()> {
        let mut tensors = Vec::new();
        if let Some(idle) = &self.idle {
            tensors.push(NamedTensor::from_tensor("idle", &idle.steps)?);
        }
        if let Some(ema) = &self.ema {
            tensors.push(NamedTensor::from_tensor("ema_counts", &ema.counts)?);
            tensors.push(NamedTensor::from_tensor("ema_sums", &ema.sums)?);
        }
        state.insert(&self.prefix(), tensors)
    }

    /// The prefix of its statistics in a checkpoint: `extra.`, and `extra.1.` from the second level on.
    fn prefix(&self) -> String {
        match self.level {
            0 => STATE.to_owned(),
            level => format!("{STATE}{level}."),
        }
    }

    /// Restores them, as they were after `updates` steps.
    pub(super) fn restore(
        &mut self,
        codebook: &Codebook,
        state: &mut ResumeState,
        updates: u64,
        device: &Device,
    ) -> Result<()> {
        let [codes, dim] = codebook.weight.dims();
        let prefix = self.prefix();
        let mut take =
            |name: &str, shape: &[usize]| state.take_one(&format!("{prefix}{name}"), shape);
        if self.ema.is_some() {
            self.ema = Some(EmaCodebook::restored(
                take("ema_counts", &[codes])?.to_tensor(device)?,
                take("ema_sums", &[codes, dim])?.to_tensor(device)?,
                updates,
                self.ema_decay,
            ));
        }
        if let Some(idle) = &mut self.idle {
            idle.steps = take("idle", &[codes])?.to_tensor(device)?;
        }
        Ok(())
    }
}
