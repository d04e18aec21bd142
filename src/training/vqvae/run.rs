//! The loop of stage 1: batches in, checkpoints, validations and events out.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::backbone::load_backbone;
use super::step::VqvaeTrainer;
use crate::checkpoint::{Kind, MetricsLog, ModelFile, Stage};
use crate::data::{Batch, BatchStream, Dataset, Split, View, pixels};
use crate::error::{Error, Result};
use crate::evaluation::{TokenizerScores, images_on, perplexity, score_tokenizer, usage};
use crate::recipe::{Recipe, Schedule};
use crate::training::interval::Interval;
use crate::training::job::{Job, Outcome};
use crate::training::{Event, LearningRate};

/// Latents that start the codebook, times its size: enough for every centre to have company.
const KMEANS_ROWS_PER_CODE: usize = 32;
/// Images shown beside their reconstructions as training goes.
const PREVIEW_IMAGES: usize = 16;
/// A codebook whose perplexity is below this share of its size has collapsed.
const COLLAPSED_SHARE: f64 = 0.05;

/// Trains the tokenizer of `recipe` on `dataset`, as `job` says.
///
/// # Errors
/// Bad settings, a run folder that does not fit, a file that cannot be read or written, a loss that is not
/// finite, or [`Error::Interrupted`] when asked to stop (the state was saved).
pub fn train_vqvae(
    recipe: &Recipe,
    dataset: &Arc<Dataset>,
    device: &Device,
    mut job: Job,
) -> Result<Outcome> {
    let resumes = job.resumes(Stage::Vqvae)?;
    let mut run = Run::new(recipe, dataset, device)?;
    if resumes {
        run.restore(&job)?;
    }
    run.go(&mut job)
}

pub(super) struct Run<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) dataset: &'a Arc<Dataset>,
    pub(super) device: &'a Device,
    pub(super) trainer: VqvaeTrainer,
    pub(super) step: u64,
    pub(super) best: Option<f64>,
    pub(super) best_step: u64,
    pub(super) interval: Interval<4>,
    pub(super) counts: Tensor<1>,
    pub(super) warned: bool,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe, dataset: &'a Arc<Dataset>, device: &'a Device) -> Result<Self> {
        let config = recipe.vqvae.tokenizer_config(&recipe.data);
        config.validate()?;
        let variance = dataset.variance();
        if variance <= 0.0 {
            return Err(Error::invalid(
                "all training pixels are the same: there is nothing to learn",
            ));
        }
        let tracking = device.clone().autodiff();
        let trainer = VqvaeTrainer::new(&config, &recipe.vqvae, variance, recipe.seed, &tracking);
        Ok(Self {
            recipe,
            dataset,
            device,
            trainer,
            step: 0,
            best: None,
            best_step: 0,
            interval: Interval::new(device),
            counts: Tensor::zeros([config.codebook_size], device),
            warned: false,
        })
    }

    fn go(&mut self, job: &mut Job) -> Result<Outcome> {
        let section = &self.recipe.vqvae;
        let steps = section.steps as u64;
        let batch_size = section.batch_size;
        let begun = Instant::now();
        job.run.create()?;
        let last = (self.step > 0).then_some(self.step);
        let mut log = MetricsLog::open(job.run.metrics_path(), Stage::Vqvae, last)?;
        (job.emit)(Event::Started {
            stage: Stage::Vqvae.name(),
            name: self.recipe.name.clone(),
            step: self.step as usize,
            steps: section.steps,
            parameters: self.trainer.tokenizer.num_params(),
        });
        if self.step == 0 && !section.backbone.is_empty() {
            let tokenizer = self.trainer.tokenizer.clone();
            self.trainer.tokenizer = load_backbone(tokenizer, Path::new(&section.backbone))?;
        }
        if self.step == 0 && section.kmeans_init {
            self.start_codebook()?;
        }
        let mut batches =
            BatchStream::new(Arc::clone(self.dataset), self.recipe.seed, batch_size, self.step)?;
        let rate = learning_rate(self.recipe);
        while self.step < steps {
            let batch = batches.next_batch()?;
            let terms = self.trainer.step(self.step, self.images(batch), rate.at(self.step));
            self.step += 1;
            self.interval.add([
                terms.reconstruction,
                terms.codebook,
                terms.commitment,
                terms.gradient_norm,
            ]);
            self.counts = self.counts.clone() + terms.counts;
            (job.emit)(Event::Stepped { step: self.step as usize });

            let last = self.step == steps;
            if last || self.step.is_multiple_of(section.log_every as u64) {
                self.log(&mut log, job, rate.at(self.step - 1))?;
            }
            let pause = Instant::now();
            if last || self.step.is_multiple_of(section.validate_every as u64) {
                self.validate(&mut log, job)?;
            }
            let stop = job.stop_requested();
            if last || stop || self.step.is_multiple_of(section.checkpoint_every as u64) {
                log.sync()?;
                self.save(job)?;
            }
            self.interval.pause(pause);
            if stop && !last {
                return Err(Error::Interrupted(format!(
                    "stage vqvae stopped at step {} of {steps}; go on with --resume",
                    self.step
                )));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        (job.emit)(Event::Finished { step: self.step as usize, seconds });
        Ok(Outcome { step: self.step, best: self.best, best_step: self.best_step })
    }

    fn images(&self, batch: Batch) -> Tensor<4> {
        let (size, channels) = (self.dataset.image_size(), self.dataset.channels());
        // Constants need no graph of their own; the tracking parameters bring it in.
        Tensor::from_inner(images_on(self.device, batch.pixels, size, channels))
    }

    fn start_codebook(&mut self) -> Result<()> {
        let config = self.trainer.tokenizer.config().clone();
        let section = &self.recipe.vqvae;
        let wanted = (config.codebook_size * KMEANS_ROWS_PER_CODE).div_ceil(config.n_codes());
        let n_batches = wanted.div_ceil(section.batch_size).max(1);
        let seed = self.recipe.seed;
        let mut batches = BatchStream::new(Arc::clone(self.dataset), seed, section.batch_size, 0)?;
        let images = (0..n_batches)
            .map(|_| Ok(self.images(batches.next_batch()?)))
            .collect::<Result<Vec<_>>>()?;
        self.trainer.start_codebook(images.into_iter());
        Ok(())
    }

    fn log(&mut self, log: &mut MetricsLog, job: &mut Job, rate: f64) -> Result<()> {
        let section = &self.recipe.vqvae;
        let (means, steps_per_second) = self.interval.finish(self.device);
        let [reconstruction, codebook, commitment, gradient_norm] = means;
        let counts = read_counts(&self.counts);
        self.counts = self.counts.zeros_like();
        let loss = reconstruction
            + section.commitment * commitment
            + if self.trainer.ema.is_none() { codebook } else { 0.0 };
        let used = usage(&counts);
        let perplexity = perplexity(&counts);
        let values = vec![
            ("loss", loss),
            ("reconstruction", reconstruction),
            ("codebook", codebook),
            ("commitment", commitment),
            ("codes_used", used as f64),
            ("perplexity", perplexity),
            ("dead_codes", (counts.len() - used) as f64),
            ("gradient_norm", gradient_norm),
            ("learning_rate", rate),
            ("images_per_s", steps_per_second * section.batch_size as f64),
        ];
        log.append(self.step, "train", &values)?;
        let step = self.step as usize;
        (job.emit)(Event::Logged { step, steps: section.steps, values });
        if !loss.is_finite() {
            return Err(Error::invalid(format!(
                "the loss is {loss} at step {step} (reconstruction {reconstruction}, commitment {commitment}, \
                 learning rate {rate:e}): lower vqvae.learning_rate or set vqvae.gradient_clip, and go on \
                 with --resume from the last checkpoint"
            )));
        }
        Ok(())
    }

    fn validate(&mut self, log: &mut MetricsLog, job: &mut Job) -> Result<()> {
        let tokenizer = self.trainer.tokenizer.valid();
        let step = self.step as usize;
        let n = self.dataset.len(Split::Validation);
        if n > 0 {
            let batch_size = self.recipe.vqvae.batch_size;
            let scores = score_tokenizer(
                &tokenizer,
                self.dataset,
                Split::Validation,
                batch_size,
                false,
                self.device,
                &mut |_| {},
            )?;
            let best = self.best.is_none_or(|best| scores.nmse < best);
            let values = scored(&scores);
            log.append(self.step, "validation", &values)?;
            (job.emit)(Event::Validated { step, values, best });
            let codes = scores.counts.len();
            if scores.perplexity() < COLLAPSED_SHARE * codes as f64 && !self.warned {
                // Once is enough: the log has the numbers.
                self.warned = true;
                let advice = collapse_advice(step, scores.perplexity(), codes);
                (job.emit)(Event::Warning(advice));
            }
            if best {
                (self.best, self.best_step) = (Some(scores.nmse), self.step);
                self.save_model(job)?;
            }
        } else {
            self.save_model(job)?;
        }
        let split = if n > 0 { Split::Validation } else { Split::Train };
        let shown: Vec<usize> = (0..self.dataset.len(split).min(PREVIEW_IMAGES)).collect();
        let originals = self.dataset.pixels(split, &shown, View::AsIs)?;
        let (size, channels) = (self.dataset.image_size(), self.dataset.channels());
        let images = images_on(self.device, pixels::to_model(&originals), size, channels);
        let decoded = tokenizer.decode(tokenizer.encode(images)).into_data_as::<f32>(); // sync
        let decoded: Vec<f32> = decoded.iter::<f32>().collect();
        let reconstructions = pixels::to_u8(&decoded);
        (job.emit)(Event::Preview { step, originals, reconstructions });
        Ok(())
    }

    /// The model to use: the best on the validation split, or the latest where there is none.
    fn save_model(&self, job: &mut Job) -> Result<()> {
        let path = job.run.model_path(Stage::Vqvae);
        let tokenizer = &self.trainer.tokenizer;
        ModelFile::of_module(Kind::Tokenizer, tokenizer.config(), tokenizer)?
            .with_json(
                "provenance",
                &serde_json::json!({
                    "recipe": self.recipe.name,
                    "step": self.step,
                    "validation_nmse": self.best,
                    "seed": self.recipe.seed,
                    "dataset": self.dataset.fingerprint(),
                    "classes": self.dataset.classes(),
                    "vqgen": env!("CARGO_PKG_VERSION"),
                }),
            )?
            .save(&path)?;
        (job.emit)(Event::Saved { path, step: self.step as usize });
        Ok(())
    }
}

fn learning_rate(recipe: &Recipe) -> LearningRate {
    let section = &recipe.vqvae;
    LearningRate {
        highest: section.learning_rate,
        lowest: match section.schedule {
            Schedule::Constant => section.learning_rate,
            Schedule::Cosine => 0.0,
        },
        warmup_steps: section.warmup_steps as u64,
        steps: section.steps as u64,
    }
}

fn read_counts(counts: &Tensor<1>) -> Vec<u64> {
    counts.to_data_as::<f32>().iter::<f32>().map(|count| count as u64).collect() // sync
}

fn scored(scores: &TokenizerScores) -> Vec<(&'static str, f64)> {
    vec![
        ("mse", scores.mse),
        ("nmse", scores.nmse),
        ("psnr_db", scores.psnr_db),
        ("codes_used", scores.codes_used() as f64),
        ("perplexity", scores.perplexity()),
    ]
}

fn collapse_advice(step: usize, perplexity: f64, codes: usize) -> String {
    format!(
        "the codebook has collapsed: perplexity {perplexity:.1} of {codes} codes at step {step}; set \
         vqvae.kmeans_init to true and vqvae.restart_after to 100, try vqvae.normalize_codes with a \
         vqvae.code_dim of 8, or lower vqvae.learning_rate"
    )
}
