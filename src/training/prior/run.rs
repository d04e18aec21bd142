//! The loop of stage 2: sequences in, checkpoints, validations and events out.

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::sequences::{SequenceBatch, Sequences};
use super::step::PriorTrainer;
use crate::checkpoint::{
    Codes, Kind, MetricsLog, ModelFile, NamedTensor, ResumeState, SPLIT_TRAIN, SPLIT_VALIDATION,
    Stage,
};
use crate::data::Order;
use crate::error::{Error, Result};
use crate::evaluation::{bits_per_pixel, nats_per_code};
use crate::prior::PriorConfig;
use crate::recipe::{Recipe, Views};
use crate::rng::{Purpose, stream};
use crate::training::interval::Interval;
use crate::training::job::{Job, Outcome, check_same_settings};
use crate::training::state::{check_counters, insert_moments, take_moments};
use crate::training::{Event, LearningRate};

/// What resuming needs besides tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Counters {
    step: u64,
    adamw_steps: u64,
    best: Option<f64>,
    best_step: u64,
    validations_without_better: usize,
    interval_steps: u64,
    codes: String,
    settings: serde_json::Value,
}

/// Trains the prior of `recipe` on `codes`, as `job` says.
///
/// # Errors
/// Bad settings, a code file that does not fit, a file that cannot be read or written, a loss that is not
/// finite, or [`Error::Interrupted`] when asked to stop (the state was saved).
pub fn train_prior(
    recipe: &Recipe,
    codes: &Codes,
    device: &Device,
    mut job: Job,
) -> Result<Outcome> {
    let resumes = job.resumes(Stage::Prior)?;
    let mut run = Run::new(recipe, codes, device)?;
    if resumes {
        run.restore(&job)?;
    }
    run.go(&mut job)
}

struct Run<'a> {
    recipe: &'a Recipe,
    codes: &'a Codes,
    fingerprint: String,
    device: &'a Device,
    config: PriorConfig,
    train: Sequences<'a>,
    validation: Sequences<'a>,
    trainer: PriorTrainer,
    step: u64,
    best: Option<f64>,
    best_step: u64,
    validations_without_better: usize,
    interval: Interval<2>,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe, codes: &'a Codes, device: &'a Device) -> Result<Self> {
        let section = &recipe.prior;
        let grid = [codes.height, codes.width];
        let config = section.prior_config(codes.codebook_size, codes.classes.len(), grid);
        config.validate()?;
        let train = Sequences::new(codes, SPLIT_TRAIN, section.views == Views::Flip)?;
        let validation = Sequences::new(codes, SPLIT_VALIDATION, false)?;
        if train.is_empty() {
            return Err(Error::invalid("the code file has no training images"));
        }
        let tracking = device.clone().autodiff();
        Ok(Self {
            recipe,
            codes,
            fingerprint: codes.fingerprint(),
            device,
            trainer: PriorTrainer::new(&config, section, recipe.seed, &tracking),
            config,
            train,
            validation,
            step: 0,
            best: None,
            best_step: 0,
            validations_without_better: 0,
            interval: Interval::new(device),
        })
    }

    fn go(&mut self, job: &mut Job) -> Result<Outcome> {
        let section = &self.recipe.prior;
        let steps = section.steps as u64;
        let begun = Instant::now();
        job.run.create()?;
        let last = (self.step > 0).then_some(self.step);
        let mut log = MetricsLog::open(job.run.metrics_path(), Stage::Prior, last)?;
        (job.emit)(Event::Started {
            stage: Stage::Prior.name(),
            name: self.recipe.name.clone(),
            step: self.step as usize,
            steps: section.steps,
            parameters: self.trainer.gpt.num_params(),
        });
        let rate = learning_rate(self.recipe);
        let mut order = Order::new(self.recipe.seed, self.train.len());
        let mut patient = self.is_patient();
        while self.step < steps && patient {
            let batches = micro_batches(self, &mut order);
            let terms = self.trainer.step(self.step, batches.into_iter(), rate.at(self.step));
            self.step += 1;
            self.interval.add([terms.loss, terms.gradient_norm]);
            (job.emit)(Event::Stepped { step: self.step as usize });

            let mut last = self.step == steps;
            if last || self.step.is_multiple_of(section.log_every as u64) {
                self.log(&mut log, job, rate.at(self.step - 1))?;
            }
            let pause = Instant::now();
            if last || self.step.is_multiple_of(section.validate_every as u64) {
                self.validate(&mut log, job)?;
                patient = self.is_patient();
                last |= !patient;
            }
            let stop = job.stop_requested();
            if last || stop || self.step.is_multiple_of(section.checkpoint_every as u64) {
                log.sync()?;
                self.save(job)?;
            }
            self.interval.pause(pause);
            if stop && !last {
                return Err(Error::Interrupted(format!(
                    "stage prior stopped at step {} of {steps}; go on with --resume",
                    self.step
                )));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        (job.emit)(Event::Finished { step: self.step as usize, seconds });
        Ok(Outcome { step: self.step, best: self.best, best_step: self.best_step })
    }

    fn is_patient(&self) -> bool {
        let patience = self.recipe.prior.patience;
        patience == 0 || self.validations_without_better < patience
    }

    fn log(&mut self, log: &mut MetricsLog, job: &mut Job, rate: f64) -> Result<()> {
        let section = &self.recipe.prior;
        let ([loss, gradient_norm], steps_per_second) = self.interval.finish(self.device);
        let sequences = (section.batch_size * section.accumulate) as f64;
        let values = vec![
            ("nats_per_code", loss),
            ("gradient_norm", gradient_norm),
            ("learning_rate", rate),
            ("codes_per_s", steps_per_second * sequences * self.config.n_codes() as f64),
        ];
        log.append(self.step, "train", &values)?;
        let step = self.step as usize;
        (job.emit)(Event::Logged { step, steps: section.steps, values });
        if loss.is_finite() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the loss is {loss} at step {step} (learning rate {rate:e}): lower prior.learning_rate or set \
             prior.gradient_clip, and go on with --resume from the last checkpoint"
        )))
    }

    fn validate(&mut self, log: &mut MetricsLog, job: &mut Job) -> Result<()> {
        if self.validation.is_empty() {
            return self.save_model(job);
        }
        let gpt = self.trainer.gpt.valid();
        let n = self.validation.len();
        let batch_size = self.recipe.prior.batch_size;
        let batches = (0..n).step_by(batch_size).map(|from| {
            let range = from..(from + batch_size).min(n);
            let batch = self.validation.plain_batch(range, &self.config, self.device);
            (batch.classes, batch.codes)
        });
        let nats = nats_per_code(&gpt, batches);
        let size = self.codes.image_size;
        let values = vec![
            ("nats_per_code", nats),
            ("bits_per_pixel", bits_per_pixel(nats, self.config.n_codes(), size, size)),
        ];
        log.append(self.step, "validation", &values)?;
        let best = self.best.is_none_or(|best| nats < best);
        (job.emit)(Event::Validated { step: self.step as usize, values, best });
        if best {
            (self.best, self.best_step) = (Some(nats), self.step);
            self.validations_without_better = 0;
            return self.save_model(job);
        }
        self.validations_without_better += 1;
        Ok(())
    }

    /// The model to use: the best on the validation split, or the latest where there is none.
    fn save_model(&self, job: &mut Job) -> Result<()> {
        let path = job.run.model_path(Stage::Prior);
        ModelFile::of_module(Kind::Prior, &self.config, &self.trainer.gpt)?
            .with("tokenizer", self.codes.tokenizer.clone())
            .with("codes", self.fingerprint.clone())
            .with_json("classes", &self.codes.classes)?
            .with_json(
                "provenance",
                &serde_json::json!({
                    "recipe": self.recipe.name,
                    "step": self.step,
                    "validation_nats_per_code": self.best,
                    "seed": self.recipe.seed,
                    "vqgen": env!("CARGO_PKG_VERSION"),
                }),
            )?
            .save(&path)?;
        (job.emit)(Event::Saved { path, step: self.step as usize });
        Ok(())
    }

    fn save(&self, job: &mut Job) -> Result<()> {
        let counters = Counters {
            step: self.step,
            adamw_steps: self.trainer.optimizer.steps(),
            best: self.best,
            best_step: self.best_step,
            validations_without_better: self.validations_without_better,
            interval_steps: self.interval.steps,
            codes: self.fingerprint.clone(),
            settings: settings(self.recipe)?,
        };
        let mut state = ResumeState::new(Stage::Prior, &counters)?;
        state.insert_module("model.", &self.trainer.gpt)?;
        insert_moments(&mut state, &self.trainer.optimizer)?;
        let interval = NamedTensor::from_tensor("interval", &self.interval.sums)?;
        state.insert("extra.", vec![interval])?;
        let path = job.run.resume_path(Stage::Prior);
        state.save(&path)?;
        (job.emit)(Event::Saved { path, step: self.step as usize });
        Ok(())
    }

    fn restore(&mut self, job: &Job) -> Result<()> {
        let path = job.run.resume_path(Stage::Prior);
        let mut state = ResumeState::load(&path, Stage::Prior)?;
        let counters: Counters = state.counters()?;
        check_same_settings("prior", &counters.settings, &settings(self.recipe)?)?;
        check_codes(&path, &counters.codes, &self.fingerprint)?;
        let counted = [counters.interval_steps, counters.best_step];
        check_counters(counters.step, &[counters.adamw_steps], &counted, &path)?;
        let trainer = &mut self.trainer;
        trainer.gpt = state.take_module("model.", trainer.gpt.clone())?;
        let steps = counters.adamw_steps;
        let optimizer = &mut trainer.optimizer;
        take_moments(&mut state, optimizer, &trainer.gpt, steps, self.device, &path)?;
        let mut extra = state.take("extra.");
        let interval = extra.pop().filter(|one| extra.is_empty() && one.name == "interval");
        let interval =
            interval.ok_or_else(|| Error::file(&path, "has no extra.interval".to_owned()))?;
        interval.expect_shape(&[Interval::<2>::LEN], &path)?;
        self.interval =
            Interval::restored(interval.to_tensor(self.device)?, counters.interval_steps);
        state.expect_empty()?;
        self.step = counters.step;
        self.best = counters.best;
        self.best_step = counters.best_step;
        self.validations_without_better = counters.validations_without_better;
        Ok(())
    }
}

/// The micro batches of the step to come.
fn micro_batches(run: &Run, order: &mut Order) -> Vec<SequenceBatch> {
    let section = &run.recipe.prior;
    let first = run.step * section.accumulate as u64;
    (first..first + section.accumulate as u64)
        .map(|micro| {
            let draws = order.draws(micro, section.batch_size);
            let mut rng = stream(run.recipe.seed, Purpose::ClassDropout, micro, 0);
            let class_dropout = (section.class_dropout, &mut rng);
            run.train.training_batch(&draws, class_dropout, &run.config, run.device)
        })
        .collect()
}

fn check_codes(path: &Path, saved: &str, now: &str) -> Result<()> {
    if saved == now {
        return Ok(());
    }
    Err(Error::file(
        path,
        format!(
            "was trained on codes {saved}, codes.safetensors is {now} (train the prior anew in another --run)"
        ),
    ))
}

/// What must be the same for a resumed run to be the run that was stopped.
fn settings(recipe: &Recipe) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(&recipe.prior)
        .map_err(|error| Error::invalid(format!("the recipe cannot be written: {error}")))?;
    if let serde_json::Value::Object(section) = &mut value {
        section.insert("seed".to_owned(), recipe.seed.into());
    }
    Ok(value)
}

fn learning_rate(recipe: &Recipe) -> LearningRate {
    let section = &recipe.prior;
    LearningRate {
        highest: section.learning_rate,
        lowest: section.min_learning_rate,
        warmup_steps: section.warmup_steps as u64,
        steps: section.steps as u64,
    }
}
