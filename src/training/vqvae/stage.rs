//! Stage 1 for the shared loop: batches of images, log lines, validation with previews, and files.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::backbone::load_backbone;
use super::collapse::{Collapse, collapse_advice};
use super::health::Health;
use super::levels::{by_level, lowest, read_counts};
use super::step::VqvaeTrainer;
use crate::checkpoint::{
    DATA, Kind, ModelFile, NamedTensor, ResumeState, RunDir, Stage, parameters, start_from,
};
use crate::codec::{Codec, images_on};
use crate::data::{Batch, BatchStream, Dataset, Split, View};
use crate::error::{Error, Result};
use crate::evaluation::{TokenizerScores, perplexities, perplexity_of_all, score_tokenizer, usage};
use crate::recipe::{Recipe, Schedule};
use crate::training::counters;
use crate::training::interval::Means;
use crate::training::job::{Job, StageOutcome};
use crate::training::non_finite::GRADIENT_NORM;
use crate::training::stage_loop::train;
use crate::training::stage_run::{Cadence, Input, StageRun, Validation};
use crate::training::trainee::Trained;
use crate::training::{Event, LearningRate, NonFinite, Objective};

/// Latents per code for k-means: enough for every centre to have several.
const KMEANS_ROWS_PER_CODE: usize = 32;
/// Images in a preview of reconstructions during training.
const PREVIEW_IMAGES: usize = 16;
/// A codebook whose perplexity is below this fraction of its size has collapsed.
const COLLAPSED_SHARE: f64 = 0.05;

/// What the names of the codebooks' tensors start with.
const CODEBOOK: &str = "codebook.";

/// Prefix and name of the counts of the log interval in a checkpoint.
const COUNTS: (&str, &str) = ("extra.", "counts");

/// Trains the tokenizer of `recipe` on `dataset`, as specified by `job`.
///
/// # Errors
/// Invalid settings, a run folder that does not fit, a file that cannot be read or written, a value that is not finite,
/// or [`Error::Interrupted`] after SIGINT or SIGTERM (the state was saved).
pub fn train_vqvae(
    recipe: &Recipe,
    dataset: &Arc<Dataset>,
    device: &Device,
    mut job: Job,
) -> Result<StageOutcome> {
    train(VqvaeStage::new(recipe, dataset, device)?, &mut job)
}

/// How many steps the tokenizer of a run has been trained; `None` without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read or cannot be resumed under this recipe and with this data set.
pub(crate) fn steps_made(recipe: &Recipe, dataset: &Dataset, run: &RunDir) -> Result<Option<u64>> {
    let settings = settings(recipe)?;
    counters::steps_made(run, Stage::Vqvae, &settings, &input(dataset))
}

/// The part of the recipe that stage 1 depends on.
fn settings(recipe: &Recipe) -> Result<Value> {
    let others = [
        ("seed", recipe.seed.into()),
        ("data.flip", recipe.data.flip.into()),
        ("data.crop", recipe.data.crop.into()),
    ];
    counters::settings(&recipe.vqvae, others)
}

fn input(dataset: &Dataset) -> Input {
    Input { noun: "data", fingerprint: dataset.fingerprint().to_owned() }
}

pub(super) struct VqvaeStage<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) dataset: &'a Arc<Dataset>,
    pub(super) device: &'a Device,
    pub(super) trainer: VqvaeTrainer,
    pub(super) batches: Option<BatchStream>,
    /// Positions assigned to each code since the last log line, level by level, `[depth * codes]`.
    pub(super) counts: Tensor<1>,
    pub(super) warned: bool,
    /// Whether the codebook is another model's, which k-means would replace.
    has_codebook: bool,
    pub(super) health: Health,
}

impl<'a> VqvaeStage<'a> {
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
        let trainer = VqvaeTrainer::new(&config, &recipe.vqvae, variance, recipe.seed, &tracking)?;
        Ok(Self {
            recipe,
            dataset,
            device,
            trainer,
            batches: None,
            counts: Tensor::zeros([config.depth * config.codebook_size], device),
            warned: false,
            has_codebook: false,
            health: Health::default(),
        })
    }

    fn batches_from(&self, step: u64) -> Result<BatchStream> {
        let (seed, batch_size) = (self.recipe.seed, self.recipe.vqvae.batch_size);
        BatchStream::new(Arc::clone(self.dataset), seed, batch_size, step)
    }

    fn images(&self, batch: Batch) -> Tensor<4> {
        let (size, channels) = (self.dataset.image_size(), self.dataset.channels());
        // Constants need no graph of their own; the parameters that require gradients provide it.
        Tensor::from_inner(images_on(self.device, batch.pixels, size, channels))
    }

    fn start_codebook(&mut self) -> Result<()> {
        let config = self.trainer.tokenizer.module.config().clone();
        let section = &self.recipe.vqvae;
        let positions = config.grid_size() * config.grid_size();
        let wanted = (config.codebook_size * KMEANS_ROWS_PER_CODE).div_ceil(positions);
        let n_batches = wanted.div_ceil(section.batch_size).max(1);
        let mut batches = self.batches_from(0)?;
        let images = (0..n_batches)
            .map(|_| Ok(self.images(batches.next_batch()?)))
            .collect::<Result<Vec<_>>>()?;
        self.trainer.start_codebook(images.into_iter());
        Ok(())
    }

    /// Warns of a collapsed codebook, once; the log has the numbers.
    fn watch_codebook(&mut self, step: u64, scores: &TokenizerScores, emit: &mut dyn FnMut(Event)) {
        let codes = self.trainer.tokenizer.module.config().codebook_size;
        let of_levels = scores.perplexities();
        let Some((level, perplexity)) = lowest(&of_levels) else { return };
        if perplexity < COLLAPSED_SHARE * codes as f64 && !self.warned {
            self.warned = true;
            let level = (of_levels.len() > 1).then_some(level + 1);
            let collapse = Collapse { step, perplexity, codes, level };
            emit(Event::Warning(collapse_advice(&self.recipe.vqvae, collapse)));
        }
    }

    /// A few fixed images and their current reconstructions.
    fn preview(&self, step: u64) -> Result<Event> {
        let tokenizer = self.trainer.model();
        let validates = self.dataset.len(Split::Validation) > 0;
        let split = if validates { Split::Validation } else { Split::Train };
        let shown: Vec<usize> = (0..self.dataset.len(split).min(PREVIEW_IMAGES)).collect();
        let originals = self.dataset.pixels(split, &shown, View::AS_IS)?;
        let codec = Codec::new(&tokenizer, self.device);
        let reconstructions = codec.decode(&codec.encode(&originals));
        Ok(Event::Preview { step: step as usize, originals, reconstructions })
    }
}

impl StageRun for VqvaeStage<'_> {
    const STAGE: Stage = Stage::Vqvae;

    fn device(&self) -> &Device {
        self.device
    }

    fn objective(&self) -> &Objective {
        self.trainer.objective()
    }

    fn trainees(&self) -> Vec<&dyn Trained> {
        let adversary = self.trainer.adversary.as_ref().map(|one| one as &dyn Trained);
        std::iter::once(&self.trainer.tokenizer as &dyn Trained).chain(adversary).collect()
    }

    fn trainees_mut(&mut self) -> Vec<&mut dyn Trained> {
        let VqvaeTrainer { tokenizer, adversary, .. } = &mut self.trainer;
        let adversary = adversary.as_mut().map(|one| one as &mut dyn Trained);
        std::iter::once(tokenizer as &mut dyn Trained).chain(adversary).collect()
    }

    fn recipe(&self) -> &Recipe {
        self.recipe
    }

    fn activations(&self) -> usize {
        self.trainer.activations()
    }

    fn input_bytes(&self) -> u64 {
        self.dataset.bytes_in_memory() as u64
    }

    fn steps_per_epoch(&self) -> f64 {
        self.dataset.len(Split::Train) as f64 / self.recipe.vqvae.batch_size as f64
    }

    fn cadence(&self) -> Cadence {
        let section = &self.recipe.vqvae;
        Cadence {
            steps: section.steps,
            log_every: section.log_every,
            validate_every: section.validate_every,
            checkpoint_every: section.checkpoint_every,
            patience: 0,
            skip_non_finite: section.skip_non_finite,
        }
    }

    fn learning_rate(&self) -> LearningRate {
        let section = &self.recipe.vqvae;
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

    fn input(&self) -> Input {
        input(self.dataset)
    }

    fn settings(&self) -> Result<Value> {
        settings(self.recipe)
    }

    fn start_from(&mut self, from: &ModelFile) -> Result<String> {
        let (module, taken) = start_from(self.trainer.tokenizer.module.clone(), from, &|_| None)?;
        self.trainer.tokenizer.module = module;
        let codebook = |name: &str| name.starts_with(CODEBOOK);
        let has_one = from.tensors().iter().any(|tensor| codebook(&tensor.name));
        self.has_codebook = has_one && !taken.new.iter().any(|name| codebook(name));
        Ok(taken.note(from))
    }

    fn prepare(&mut self, step: u64) -> Result<()> {
        let section = &self.recipe.vqvae;
        if step == 0 && !section.backbone.is_empty() {
            let tokenizer = self.trainer.tokenizer.module.clone();
            self.trainer.tokenizer.module = load_backbone(tokenizer, Path::new(&section.backbone))?;
        }
        if step == 0 && section.kmeans_init && !self.has_codebook {
            self.start_codebook()?;
        }
        if step == 0 {
            self.trainer.restart_average();
        }
        self.batches = Some(self.batches_from(step)?);
        Ok(())
    }

    fn step(&mut self, step: u64, rate: f64, guard: bool) -> Result<Result<Tensor<1>, NonFinite>> {
        let batches = self.batches.as_mut();
        let batches =
            batches.ok_or_else(|| Error::invalid("a step before its batches are ready"))?;
        let batch = batches.next_batch()?;
        let images = self.images(batch);
        Ok(self.trainer.step(step, images, rate, guard).map(|done| {
            self.counts = self.counts.clone() + done.counts;
            done.terms
        }))
    }

    fn term_joins(&self, steps: Range<u64>) -> bool {
        self.trainer.term_joins(steps)
    }

    fn logged(
        &mut self,
        means: &Means,
        rate: f64,
        steps_per_second: f64,
    ) -> Vec<(&'static str, f64)> {
        let section = &self.recipe.vqvae;
        let counts = read_counts(&self.counts);
        self.counts = self.counts.zeros_like();
        self.health.logged(&means.terms);
        let used = usage(&counts);
        let of_levels = perplexities(&counts, self.trainer.tokenizer.module.config().codebook_size);
        let mut values = vec![("loss", self.trainer.objective().total_of_means(&means.terms))];
        values.extend(&means.terms);
        values.extend([
            ("codes_used", used as f64),
            ("perplexity", perplexity_of_all(&of_levels)),
            ("dead_codes", (counts.len() - used) as f64),
            (GRADIENT_NORM, means.gradient_norm),
            ("learning_rate", rate),
            ("images_per_s", steps_per_second * section.batch_size as f64),
        ]);
        values.extend(by_level(&of_levels));
        values
    }

    fn validate(&mut self, step: u64, emit: &mut dyn FnMut(Event)) -> Result<Option<Validation>> {
        emit(self.preview(step)?);
        if self.dataset.is_empty(Split::Validation) {
            return Ok(None);
        }
        let tokenizer = self.trainer.model();
        let perceptual = self.trainer.perceptual();
        let scores = score_tokenizer(
            Codec::new(&tokenizer, self.device),
            self.dataset,
            Split::Validation,
            self.recipe.vqvae.batch_size,
            false,
            perceptual.as_ref().map(|(net, _)| net),
            &mut |_| {},
        )?;
        self.watch_codebook(step, &scores, emit);
        for advice in self.health.validated(&self.recipe.vqvae, step, scores.nmse) {
            emit(Event::Warning(advice));
        }
        let mut values =
            vec![("mse", scores.mse), ("nmse", scores.nmse), ("psnr_db", scores.psnr_db)];
        values.extend(scores.perceptual.map(|distance| ("perceptual", distance)));
        values.extend([
            ("codes_used", scores.codes_used() as f64),
            ("perplexity", scores.perplexity()),
        ]);
        values.extend(by_level(&scores.perplexities()));
        // Squared error and the perceptual term, whatever else training minimises: comparable between runs and steps.
        let weight = perceptual.map_or(0.0, |(_, weight)| weight);
        let score = scores.nmse + weight * scores.perceptual.unwrap_or(0.0);
        Ok(Some(Validation { score, values }))
    }

    /// A discriminator's judgement is of one moment: no score compares two models over time.
    fn keeps_newest(&self) -> bool {
        self.trainer.adversary.is_some()
    }

    fn weights(&self) -> Result<Vec<NamedTensor>> {
        parameters::named(&self.trainer.model())
    }

    fn take_weights(&self, state: &mut ResumeState, prefix: &str) -> Result<Vec<NamedTensor>> {
        parameters::named(&state.take_module(prefix, self.trainer.tokenizer.module.clone())?)
    }

    fn model_file(
        &self,
        weights: Vec<NamedTensor>,
        step: u64,
        score: Option<f64>,
    ) -> Result<ModelFile> {
        let config = self.trainer.tokenizer.module.config();
        let provenance = serde_json::json!({
            "recipe": self.recipe.name,
            "step": step,
            "validation_score": score,
            "seed": self.recipe.seed,
            "dataset": self.dataset.fingerprint(),
            "classes": self.dataset.classes(),
            "vqgen": env!("CARGO_PKG_VERSION"),
        });
        ModelFile::new(Kind::Tokenizer, config, weights)?
            .with_json("provenance", &provenance)?
            .with_json(DATA, self.dataset.provenance())
    }

    fn save(&self, state: &mut ResumeState) -> Result<()> {
        state.insert(COUNTS.0, vec![NamedTensor::from_tensor(COUNTS.1, &self.counts)?])?;
        self.trainer.averaged.as_ref().map_or(Ok(()), |averaged| averaged.save(state))?;
        self.health.save(state)?;
        self.trainer.learners.iter().try_for_each(|learner| learner.save(state))
    }

    fn restore(&mut self, state: &mut ResumeState, updates: u64) -> Result<()> {
        let config = self.trainer.tokenizer.module.config();
        let shape = [config.depth * config.codebook_size];
        let counts = state.take_one(&format!("{}{}", COUNTS.0, COUNTS.1), &shape)?;
        self.counts = counts.to_tensor(self.device)?;
        self.trainer.averaged.as_mut().map_or(Ok(()), |averaged| averaged.restore(state))?;
        self.health.restore(state)?;
        let VqvaeTrainer { learners, tokenizer, .. } = &mut self.trainer;
        let codebooks = tokenizer.module.codebook.codebooks();
        (learners.iter_mut().zip(codebooks)).try_for_each(|(learner, codebook)| {
            learner.restore(codebook, state, updates, self.device)
        })
    }
}
