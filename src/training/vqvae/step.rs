//! One optimizer step of stage 1: the loss of Eq. 3 (van den Oord et al. 2017), the update of encoder and
//! decoder, and the codebook's own rules. It knows no files and no data set.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::ops::mean_squared_error;
use crate::recipe::{Codebook as CodebookRule, ReconstructionLoss, VqvaeSection};
use crate::rng::{Purpose, stream};
use crate::tokenizer::{
    EmaCodebook, IdleCodes, Tokenizer, TokenizerConfig, TokenizerOutput, draw_rows, kmeans,
    replace_rows,
};
use crate::training::{AdamW, AdamWConfig, NamedGradients, NonFinite};

/// Rounds of k-means when the codebook starts from data.
const KMEANS_ROUNDS: usize = 10;
/// Adam's constants as in the paper's released code.
const ADAM: (f64, f64, f64) = (0.9, 0.999, 1e-8);

/// The model and everything that changes with it.
#[derive(Debug)]
pub struct VqvaeTrainer {
    /// The model.
    pub tokenizer: Tokenizer,
    /// Encoder, decoder and, by the gradient rule, codebook.
    pub optimizer: AdamW,
    /// The codebook's statistics, by the EMA rule.
    pub ema: Option<EmaCodebook>,
    /// Who has not been used lately.
    pub idle: IdleCodes,
    section: VqvaeSection,
    variance: f64,
    seed: u64,
}

/// The numbers of one step, still on the device.
#[derive(Debug, Clone)]
pub struct VqvaeTerms {
    /// As [`VqvaeTrainer::TERMS`] names them, `[4]`.
    pub terms: Tensor<1>,
    /// How many positions took each code, `[codes]`.
    pub counts: Tensor<1>,
}

impl VqvaeTrainer {
    /// What a step tells: the reconstruction term over the data variance, `|sg[z_e] - e|^2`,
    /// `|z_e - sg[e]|^2` without beta, and the global norm of the gradient before clipping.
    pub const TERMS: &'static [&'static str] =
        &["reconstruction", "codebook", "commitment", "gradient_norm"];

    /// A fresh model on `device` (which must track gradients). `variance` is that of the training pixels.
    pub fn new(
        config: &TokenizerConfig,
        section: &VqvaeSection,
        variance: f64,
        seed: u64,
        device: &Device,
    ) -> Self {
        let mut tokenizer = Tokenizer::new(config, seed, device);
        let by_gradient = section.codebook == CodebookRule::Gradient;
        let weight = tokenizer.codebook.weight;
        tokenizer.codebook.weight = weight.set_require_grad(by_gradient);
        let (beta1, beta2, epsilon) = ADAM;
        let weight_decay = section.weight_decay;
        let constants = AdamWConfig { beta1, beta2, epsilon, weight_decay };
        Self {
            optimizer: AdamW::new(constants, decays),
            ema: (!by_gradient).then(|| EmaCodebook::new(&tokenizer.codebook, section.ema_decay)),
            idle: IdleCodes::new(&tokenizer.codebook),
            tokenizer,
            section: section.clone(),
            variance,
            seed,
        }
    }

    /// Starts the codebook from k-means over the latents of `images`.
    ///
    /// # Shapes
    /// - `images`: batches of `[batch, height, width, channels]`
    pub fn start_codebook(&mut self, images: impl Iterator<Item = Tensor<4>>) {
        let frozen = self.tokenizer.valid();
        let [codes, dim] = frozen.codebook.weight.dims();
        let rows = images.map(|batch| {
            let latents = frozen.latents(batch.inner());
            let [batch, h, w, dim] = latents.dims();
            frozen.codebook.prepared(latents.reshape([batch * h * w, dim]))
        });
        let rows = Tensor::cat(rows.collect(), 0);
        let mut rng = stream(self.seed, Purpose::CodebookInit, 0, 0);
        let centres = kmeans(rows, codes, KMEANS_ROUNDS, &mut rng);
        debug_assert_eq!(centres.dims(), [codes, dim]);
        self.set_codebook(centres);
    }

    /// One step at learning rate `rate`; `step` counts from 0. With `guard`, the terms are read back first.
    ///
    /// # Shapes
    /// - `images`: `[batch, height, width, channels]`
    ///
    /// # Errors
    /// With `guard`, a term that is not finite; then the step has changed nothing.
    pub fn step(
        &mut self,
        step: u64,
        images: Tensor<4>,
        rate: f64,
        guard: bool,
    ) -> Result<VqvaeTerms, NonFinite> {
        let TokenizerOutput { reconstruction, quantized } = self.tokenizer.forward(images.clone());
        let term = match self.section.loss {
            ReconstructionLoss::Mse => mean_squared_error(reconstruction, images),
            ReconstructionLoss::L1 => (reconstruction - images).abs().mean(),
        };
        let term = term.mul_scalar(1.0 / self.variance);
        let commitment = quantized.commitment_loss;
        let mut loss = term.clone() + commitment.clone().mul_scalar(self.section.commitment);
        if self.ema.is_none() {
            loss = loss + quantized.codebook_loss.clone();
        }

        let mut gradients = NamedGradients::of(&self.tokenizer, loss.backward());
        let norm = gradients.norm().unwrap_or_else(|| Tensor::zeros([1], &term.device()));
        let codebook = quantized.codebook_loss;
        let terms = [term.inner(), codebook.inner(), commitment.inner(), norm.clone()];
        let terms = Tensor::cat(terms.to_vec(), 0); // [4]
        if let Some(found) = guard.then(|| NonFinite::first(Self::TERMS, &terms)).flatten() {
            return Err(found);
        }
        if self.section.gradient_clip > 0.0 {
            gradients.clip(norm, self.section.gradient_clip);
        }
        self.tokenizer = self.optimizer.step(self.tokenizer.clone(), gradients, rate);

        let latents = quantized.latents.inner();
        let codes = quantized.codes.inner();
        let counts = self.update_codebook(step, latents, codes);
        Ok(VqvaeTerms { terms, counts })
    }

    /// Moves the codebook by its averages and restarts dead codes; returns the counts of the batch.
    fn update_codebook(
        &mut self,
        step: u64,
        latents: Tensor<2>,
        codes: Tensor<1, Int>,
    ) -> Tensor<1> {
        let counts = match &mut self.ema {
            Some(ema) => {
                let (vectors, counts) = ema.update(latents.clone(), codes);
                // A code that no latent ever chose has no average: sonnet's formula would put all of them on 0.
                let never_used = ema.counts.clone().equal_scalar(0.0);
                let [n_codes, dim] = vectors.dims();
                let kept = never_used.reshape([n_codes, 1]).expand([n_codes, dim]);
                let first = self.tokenizer.codebook.weight.val().inner();
                self.set_codebook(vectors.mask_where(kept, first));
                counts
            }
            None => {
                let n_codes = self.tokenizer.config().codebook_size;
                crate::ops::nearest::sums_by_code(latents.clone(), codes, n_codes).counts
            }
        };
        self.idle.update(counts.clone());
        let limit = self.section.restart_after as u64;
        if limit > 0 && (step + 1).is_multiple_of(limit) {
            self.restart_idle_codes(step, limit, latents);
        }
        counts
    }

    fn restart_idle_codes(&mut self, step: u64, limit: u64, latents: Tensor<2>) {
        let dead = self.idle.take(limit);
        if dead.is_empty() {
            return;
        }
        let mut rng = stream(self.seed, Purpose::Restart, step, 0);
        let rows = draw_rows(latents, dead.len(), &mut rng);
        match &mut self.ema {
            Some(ema) => {
                ema.restart(&dead, rows);
                let vectors = ema.vectors();
                self.set_codebook(vectors);
            }
            None => {
                let ids = Tensor::<1, Int>::from_data(dead.as_slice(), &rows.device());
                let table = self.tokenizer.codebook.weight.val().inner();
                self.set_codebook(replace_rows(table, &ids, rows));
            }
        }
    }

    /// Replaces the code vectors, keeping who trains them.
    fn set_codebook(&mut self, vectors: Tensor<2>) {
        let trained = self.ema.is_none();
        let codebook = &mut self.tokenizer.codebook;
        codebook.weight =
            codebook.weight.clone().map(|_| Tensor::from_inner(vectors).set_require_grad(trained));
    }
}

/// Weight decay is for the kernels of the convolutions and linear layers.
fn decays(path: &str, rank: usize) -> bool {
    rank >= 2 && !path.starts_with("codebook.")
}
