//! Stage 2 for the common training loop: batches of sequences, log lines, validation and files.

use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};

use super::captions::Captions;
use super::sequences::{SequenceBatch, Sequences};
use super::shared::Shared;
use super::step::PriorTrainer;
use crate::checkpoint::{
    Codes, DATA, Kind, MERGES, ModelFile, NamedTensor, ResumeState, RunDir, Stage, parameters,
    start_from,
};
use crate::data::{Order, Split, View};
use crate::error::{Error, Result};
use crate::evaluation::{bits_per_pixel, nats_per_code};
use crate::prior::PriorConfig;
use crate::recipe::{KeptWeights, Recipe};
use crate::rng::{Purpose, stream};
use crate::training::counters;
use crate::training::interval::Means;
use crate::training::job::{Job, StageOutcome};
use crate::training::non_finite::GRADIENT_NORM;
use crate::training::stage_loop::train;
use crate::training::stage_run::{Cadence, Input, StageRun, Validation};
use crate::training::trainee::Trained;
use crate::training::{Event, LearningRate, NonFinite, Objective};

/// Trains the prior of `recipe` on `codes`, as `job` says.
///
/// # Errors
/// Bad settings, a code file that does not fit, a file that cannot be read or written, numbers that are not
/// finite, or [`Error::Interrupted`] on a signal (the state was saved).
pub fn train_prior(
    recipe: &Recipe,
    codes: &Codes,
    device: &Device,
    mut job: Job,
) -> Result<StageOutcome> {
    train(PriorStage::new(recipe, codes, device)?, &mut job)
}

/// How many steps the prior of a run has made; `None` without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read or cannot resume with this recipe and these codes.
pub(crate) fn steps_made(recipe: &Recipe, codes: &Codes, run: &RunDir) -> Result<Option<u64>> {
    let input = Input { noun: "codes", fingerprint: codes.fingerprint() };
    counters::steps_made(run, Stage::Prior, &settings(recipe)?, &input)
}

/// The fingerprint of the codes that the prior of a run is trained on; `None` without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read.
pub(crate) fn trained_on(run: &RunDir) -> Result<Option<String>> {
    counters::trained_on(run, Stage::Prior)
}

/// The part of the recipe that stage 2 depends on.
fn settings(recipe: &Recipe) -> Result<Value> {
    counters::settings(&recipe.prior, [("seed", recipe.seed.into())])
}

struct PriorStage<'a> {
    recipe: &'a Recipe,
    codes: &'a Codes,
    fingerprint: String,
    device: &'a Device,
    config: PriorConfig,
    captions: Captions<'a>,
    train: Sequences<'a>,
    validation: Sequences<'a>,
    order: Order,
    trainer: PriorTrainer,
}

impl<'a> PriorStage<'a> {
    fn new(recipe: &'a Recipe, codes: &'a Codes, device: &'a Device) -> Result<Self> {
        let section = &recipe.prior;
        let grid = [codes.height, codes.width, codes.depth];
        let train = Sequences::for_training(codes, section)?;
        let validation = Sequences::for_validation(codes);
        if train.is_empty() {
            return Err(Error::invalid("the code file has no training images"));
        }
        // Each image once, whatever the number of its views.
        let images = codes.images_of(Split::Train, &[View::AS_IS]);
        let captions = Captions::new(codes, &images, section)?;
        let config = section.prior_config(codes.codebook_size, codes.classes.len(), grid);
        let config = captions.shaped(config);
        config.validate()?;
        let tracking = device.clone().autodiff();
        Ok(Self {
            recipe,
            codes,
            fingerprint: codes.fingerprint(),
            device,
            trainer: PriorTrainer::new(&config, section, recipe.seed, &tracking),
            config,
            captions,
            order: Order::new(recipe.seed, train.len()),
            train,
            validation,
        })
    }

    /// The micro batches of `step`.
    fn micro_batches(&mut self, step: u64) -> Result<Vec<SequenceBatch>> {
        let section = &self.recipe.prior;
        let orders = section.order.share_of_random(step, section.steps as u64);
        let first = step * section.accumulate as u64;
        (first..first + section.accumulate as u64)
            .map(|micro| {
                let draws = self.order.draws(micro, section.batch_size);
                let mut rng = stream(self.recipe.seed, Purpose::ClassDropout, micro, 0);
                let shape = (&self.config, self.device);
                let how = (section, orders);
                self.train.training_batch(&draws, &self.captions, how, &mut rng, shape)
            })
            .collect()
    }

    fn sequences_per_step(&self) -> usize {
        self.recipe.prior.batch_size * self.recipe.prior.accumulate
    }
}

impl StageRun for PriorStage<'_> {
    const STAGE: Stage = Stage::Prior;

    fn device(&self) -> &Device {
        self.device
    }

    fn objective(&self) -> &Objective {
        self.trainer.objective()
    }

    fn trainees(&self) -> Vec<&dyn Trained> {
        vec![&self.trainer.prior]
    }

    fn trainees_mut(&mut self) -> Vec<&mut dyn Trained> {
        vec![&mut self.trainer.prior]
    }

    fn recipe(&self) -> &Recipe {
        self.recipe
    }

    fn activations(&self) -> usize {
        self.trainer.prior.module.activations() * self.recipe.prior.batch_size
    }

    fn input_bytes(&self) -> u64 {
        2 * self.codes.codes.len() as u64
    }

    fn steps_per_epoch(&self) -> f64 {
        self.train.len() as f64 / self.sequences_per_step() as f64
    }

    fn cadence(&self) -> Cadence {
        let section = &self.recipe.prior;
        Cadence {
            steps: section.steps,
            log_every: section.log_every,
            validate_every: section.validate_every,
            checkpoint_every: section.checkpoint_every,
            patience: section.patience,
            skip_non_finite: section.skip_non_finite,
        }
    }

    fn learning_rate(&self) -> LearningRate {
        let section = &self.recipe.prior;
        LearningRate {
            highest: section.learning_rate,
            lowest: section.min_learning_rate,
            warmup_steps: section.warmup_steps as u64,
            steps: section.steps as u64,
        }
    }

    fn input(&self) -> Input {
        Input { noun: "codes", fingerprint: self.fingerprint.clone() }
    }

    fn note(&self) -> Option<String> {
        self.captions.note()
    }

    fn settings(&self) -> Result<Value> {
        settings(self.recipe)
    }

    fn start_from(&mut self, from: &ModelFile) -> Result<String> {
        let own = (&self.config, self.captions.vocabulary(), &self.codes.classes[..]);
        let shared = Shared::with(own, from)?;
        let module = self.trainer.prior.module.clone();
        let (module, taken) = start_from(module, from, &|name| shared.rows(name))?;
        self.trainer.prior.module = module;
        self.trainer.restart_average();
        Ok(taken.note(from))
    }

    fn prepare(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, step: u64, rate: f64, guard: bool) -> Result<Result<Tensor<1>, NonFinite>> {
        let batches = self.micro_batches(step)?;
        Ok(self.trainer.step(step, batches.into_iter(), rate, guard))
    }

    fn logged(
        &mut self,
        means: &Means,
        rate: f64,
        steps_per_second: f64,
    ) -> Vec<(&'static str, f64)> {
        let codes_per_step = (self.sequences_per_step() * self.config.n_codes()) as f64;
        let mut values = means.terms.clone();
        values.extend([
            (GRADIENT_NORM, means.gradient_norm),
            ("learning_rate", rate),
            ("codes_per_s", steps_per_second * codes_per_step),
        ]);
        values
    }

    fn validate(&mut self, _step: u64, _emit: &mut dyn FnMut(Event)) -> Result<Option<Validation>> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        let prior = self.trainer.model();
        let n = self.validation.len();
        let batch_size = self.recipe.prior.batch_size;
        let batches = (0..n).step_by(batch_size).map(|from| {
            let range = from..(from + batch_size).min(n);
            let captions = &self.captions;
            let batch = self.validation.plain_batch(range, captions, &self.config, self.device)?;
            Ok((batch.conditions, batch.codes.targets))
        });
        let nats = nats_per_code(&prior, batches)?;
        let size = self.codes.image_size;
        let values = vec![
            ("nats_per_code", nats),
            ("bits_per_pixel", bits_per_pixel(nats, self.config.n_codes(), size, size)),
        ];
        Ok(Some(Validation { score: nats, values }))
    }

    fn keeps_newest(&self) -> bool {
        self.recipe.prior.keep == KeptWeights::Last
    }

    fn weights(&self) -> Result<Vec<NamedTensor>> {
        parameters::named(&self.trainer.model())
    }

    fn take_weights(&self, state: &mut ResumeState, prefix: &str) -> Result<Vec<NamedTensor>> {
        parameters::named(&state.take_module(prefix, self.trainer.prior.module.clone())?)
    }

    fn model_file(
        &self,
        weights: Vec<NamedTensor>,
        step: u64,
        score: Option<f64>,
    ) -> Result<ModelFile> {
        let provenance = json!({
            "recipe": self.recipe.name,
            "step": step,
            "validation_nats_per_code": score,
            "seed": self.recipe.seed,
            "class_dropout": self.recipe.prior.class_dropout,
            "vqgen": env!("CARGO_PKG_VERSION"),
        });
        let file = ModelFile::new(Kind::Prior, &self.config, weights)?
            .with("tokenizer", self.codes.tokenizer.clone())
            .with("codes", self.fingerprint.clone())
            .with_json("classes", &self.codes.classes)?
            .with_json("provenance", &provenance)?;
        let file = match self.captions.vocabulary() {
            Some(vocabulary) => file.with_json(MERGES, &vocabulary.merges())?,
            None => file,
        };
        match &self.codes.data {
            Some(data) => file.with_json(DATA, data),
            None => Ok(file),
        }
    }

    fn save(&self, state: &mut ResumeState) -> Result<()> {
        self.trainer.averaged.as_ref().map_or(Ok(()), |averaged| averaged.save(state))
    }

    fn restore(&mut self, state: &mut ResumeState, _updates: u64) -> Result<()> {
        self.trainer.averaged.as_mut().map_or(Ok(()), |averaged| averaged.restore(state))
    }
}
