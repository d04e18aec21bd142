//! The loop that both stages share: when to log, validate, checkpoint and stop, which steps are skipped, and everything
//! a checkpoint holds besides the stage's own state. It knows no model.
//!
//! A checkpoint is ONE file and holds all that the loop changes, including the best model so far. So a resumed run ends
//! in the same bytes as an uninterrupted one, whatever was written in between.

use std::time::Instant;

use super::counters::Counters;
use super::event::{Event, Preflight};
use super::interval::{Interval, Means};
use super::job::{Job, StageOutcome};
use super::non_finite::{GRADIENT_NORM, NonFinite, SkipBudget};
use super::pace::Pace;
use super::spike::SpikeWatch;
use super::stage_run::{Cadence, StageRun, Validation};
use crate::checkpoint::{MetricsLog, ModelFile, NamedTensor, ResumeState};
use crate::device::available_memory;
use crate::error::{Error, Result};
use crate::ops::runs_on_host;

/// Memory of the process before training, in bytes. This and the next two are measured on the CPU device, see
/// `docs/reliability.md`.
const PROCESS: u64 = 110_000_000;
/// Bytes per parameter: weight, gradient, two moments, and the best weight so far.
const PER_PARAMETER: u64 = 20;
/// Bytes per activation, doubled: most are kept for the backward pass, and some of their gradients exist at the same
/// time.
const PER_TWO_ACTIVATIONS: u64 = 9;

/// The model that the run's file holds: the best by validation, the latest without validation.
#[derive(Debug)]
struct Kept {
    step: u64,
    score: Option<f64>,
    weights: Vec<NamedTensor>,
}

/// A stage and its progress.
pub(super) struct StageLoop<S> {
    stage: S,
    step: u64,
    kept: Option<Kept>,
    validations_without_better: usize,
    spikes: SpikeWatch,
    skips: SkipBudget,
    interval: Interval,
    guard: bool,
    /// Whether the newest checkpoint on disk is good enough to become the one before.
    newest_is_good: bool,
}

/// Trains `stage` as specified by `job`.
///
/// # Errors
/// A run folder that does not fit, a file that cannot be read or written, a value that is not finite, or
/// [`Error::Interrupted`] after SIGINT or SIGTERM (the state was saved).
pub(super) fn train<S: StageRun>(stage: S, job: &mut Job) -> Result<StageOutcome> {
    let resumes = job.begin.resumes(job.run, S::STAGE)?;
    let mut this = StageLoop::new(stage);
    if resumes {
        this.restore(job)?;
    } else if let Some(from) = job.from {
        let note = this.stage.start_from(from)?;
        (job.emit)(Event::Note(note));
    }
    this.go(job)
}

impl<S: StageRun> StageLoop<S> {
    fn new(stage: S) -> Self {
        let skip_non_finite = stage.cadence().skip_non_finite;
        // Reading a value back is free on the CPU and stalls a GPU, which is checked less often.
        let guard = runs_on_host(stage.device()) || skip_non_finite > 0;
        Self {
            interval: Interval::new(stage.objective().names().collect(), stage.device()),
            stage,
            step: 0,
            kept: None,
            validations_without_better: 0,
            spikes: SpikeWatch::default(),
            skips: SkipBudget::new(skip_non_finite),
            guard,
            newest_is_good: true,
        }
    }

    fn go(&mut self, job: &mut Job) -> Result<StageOutcome> {
        let cadence = self.stage.cadence();
        let steps = cadence.steps as u64;
        let rate = self.stage.learning_rate();
        let begun = Instant::now();
        job.run.create()?;
        // Not before: a refused resume must leave the run's recipe unchanged.
        job.run.save_recipe(self.stage.recipe())?;
        let last_step = (self.step > 0).then_some(self.step);
        let mut log = MetricsLog::open(job.run.metrics_path(), S::STAGE, last_step)?;
        self.announce(job, cadence.steps);
        let mut patient = self.is_patient(&cadence);
        if self.step < steps && patient {
            self.stage.prepare(self.step)?;
        }
        let mut pace = Pace::new();
        while self.step < steps && patient {
            self.one_step(rate.at(self.step), job)?;
            (job.emit)(Event::Stepped { step: self.step as usize });
            if let Some(seconds) =
                pace.seconds_left(steps - self.step).filter(|_| self.step < steps)
            {
                (job.emit)(Event::Paced { seconds });
            }

            let due = |every: usize| self.step == steps || self.step.is_multiple_of(every as u64);
            let (logs, validates) = (due(cadence.log_every), due(cadence.validate_every));
            let saves = due(cadence.checkpoint_every);
            if !self.guard && (logs || validates || saves) {
                self.check_interval(rate.at(self.step - 1))?;
            }
            if logs {
                self.log(&mut log, job, rate.at(self.step - 1))?;
            }
            let pause = Instant::now();
            let mut is_best = false;
            if validates {
                is_best = self.validate(&mut log, job, rate.at(self.step - 1))?;
                patient = self.is_patient(&cadence);
            }
            let last = self.step == steps || !patient;
            let stop = job.stop_requested();
            if last || stop || saves || is_best {
                log.sync()?;
                self.save(job)?;
            }
            if is_best {
                // After the checkpoint, so that there is no model without one.
                self.write_model(job)?;
            }
            self.interval.pause(pause);
            pace.pause(pause);
            if stop && !last {
                return Err(Error::Interrupted(format!(
                    "stage {} stopped at step {} of {steps}; resume with --resume",
                    S::STAGE.name(),
                    self.step
                )));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        (job.emit)(Event::Finished { step: self.step as usize, seconds });
        let best = self.kept.as_ref().filter(|kept| kept.score.is_some());
        Ok(StageOutcome {
            step: self.step,
            best: best.and_then(|kept| kept.score),
            best_step: best.map_or(0, |kept| kept.step),
        })
    }

    fn announce(&self, job: &mut Job, steps: usize) {
        (job.emit)(Event::Started {
            stage: S::STAGE.name(),
            name: self.stage.recipe().name.clone(),
            step: self.step as usize,
            steps,
            training: Some(Preflight {
                parameters: self.stage.n_parameters(),
                memory: self.memory_estimate(),
                steps_per_epoch: self.stage.steps_per_epoch(),
            }),
        });
        if let Some(note) = self.stage.note() {
            (job.emit)(Event::Note(note));
        }
        if self.step as usize >= steps {
            if self.step as usize > steps {
                let section = S::STAGE.name();
                (job.emit)(Event::Warning(format!(
                    "the run is at step {} already and {section}.steps is {steps}: nothing is trained",
                    self.step
                )));
            }
            return;
        }
        // Excluding what is allocated already.
        let needed = self.memory_estimate() - PROCESS - self.stage.input_bytes();
        let on_host = runs_on_host(self.stage.device());
        if let Some(free) = available_memory().filter(|free| on_host && needed > *free) {
            let (needed, free) = (needed >> 20, free >> 20);
            let section = S::STAGE.name();
            (job.emit)(Event::Warning(format!(
                "this will take about {needed} MiB more memory and {free} MiB are free: lower \
                 {section}.batch_size, or the system may kill it"
            )));
        }
    }

    /// Estimated peak memory of training, in bytes.
    fn memory_estimate(&self) -> u64 {
        let parameters = self.stage.n_parameters() as u64;
        let activations = self.stage.activations() as u64;
        PROCESS
            + self.stage.input_bytes()
            + PER_PARAMETER * parameters
            + PER_TWO_ACTIVATIONS * activations / 2
    }

    fn is_patient(&self, cadence: &Cadence) -> bool {
        cadence.patience == 0 || self.validations_without_better < cadence.patience
    }

    fn one_step(&mut self, rate: f64, job: &mut Job) -> Result<()> {
        let outcome = self.stage.step(self.step, rate, self.guard)?;
        self.step += 1;
        match outcome {
            Ok(terms) => self.interval.add(terms),
            Err(found) => {
                let told = self.skips.pass_over(&found, S::STAGE.name(), self.step, rate)?;
                (job.emit)(Event::Warning(told));
            }
        }
        Ok(())
    }

    /// Refuses to continue when a value of the interval was not finite. Synchronises with the device.
    fn check_interval(&self, rate: f64) -> Result<()> {
        let Means { terms, gradient_norm } = self.interval.means();
        let mut means = terms.into_iter().chain([(GRADIENT_NORM, gradient_norm)]);
        match means.find(|(_, mean)| !mean.is_finite()) {
            None => Ok(()),
            Some((term, value)) => {
                let found = NonFinite { term, value };
                Err(found.error(S::STAGE.name(), self.step, rate, self.interval.steps))
            }
        }
    }

    fn log(&mut self, log: &mut MetricsLog, job: &mut Job, rate: f64) -> Result<()> {
        if self.interval.steps == 0 {
            return Ok(()); // every step of it was skipped
        }
        let (means, steps_per_second) = self.interval.finish();
        let values = self.stage.logged(&means, rate, steps_per_second);
        log.append(self.step, "train", &values)?;
        let loss = values.first().map_or(f64::NAN, |(_, loss)| *loss);
        let Cadence { steps, log_every, .. } = self.stage.cadence();
        (job.emit)(Event::Logged { step: self.step as usize, steps, values });
        let interval = self.step.saturating_sub(log_every as u64)..self.step;
        let joins = self.stage.term_joins(interval);
        let warning = self.spikes.logged(S::STAGE.name(), self.step, loss, joins);
        warning.into_iter().for_each(|warning| (job.emit)(Event::Warning(warning)));
        Ok(())
    }

    /// Whether the current model is the best, and is kept.
    fn validate(&mut self, log: &mut MetricsLog, job: &mut Job, rate: f64) -> Result<bool> {
        let Some(Validation { score, values }) = self.stage.validate(self.step, job.emit)? else {
            self.keep(None)?;
            return Ok(true);
        };
        if !score.is_finite() {
            let found = NonFinite { term: "validation_score", value: score };
            return Err(found.error(S::STAGE.name(), self.step, rate, 1));
        }
        let lowest = self.kept.as_ref().and_then(|kept| kept.score);
        let keeps_newest = self.stage.keeps_newest();
        let best = keeps_newest || lowest.is_none_or(|lowest| score < lowest);
        log.append(self.step, "validation", &values)?;
        (job.emit)(Event::Validated {
            step: self.step as usize,
            values,
            best: best && !keeps_newest,
        });
        if best {
            self.validations_without_better = 0;
            self.keep(Some(score))?;
        } else {
            self.validations_without_better += 1;
        }
        Ok(best)
    }

    /// Makes the current model the one to save.
    fn keep(&mut self, score: Option<f64>) -> Result<()> {
        let weights = self.stage.weights()?;
        self.kept = Some(Kept { step: self.step, score, weights });
        Ok(())
    }

    fn write_model(&self, job: &mut Job) -> Result<()> {
        let Some(Kept { step, score, weights }) = &self.kept else { return Ok(()) };
        let path = job.run.model_path(S::STAGE);
        self.stage.model_file(weights.clone(), *step, *score)?.save(&path)?;
        (job.emit)(Event::Saved { path, step: *step as usize });
        Ok(())
    }

    fn save(&mut self, job: &mut Job) -> Result<()> {
        let kept = self.kept.as_ref();
        let counters = Counters {
            step: self.step,
            kept_step: kept.map(|kept| kept.step),
            kept_score: kept.and_then(|kept| kept.score),
            validations_without_better: self.validations_without_better,
            skipped: self.skips.used(),
            interval_steps: self.interval.steps,
            input: self.stage.input().fingerprint,
            settings: self.stage.settings()?,
        };
        let mut state = ResumeState::new(S::STAGE, &counters)?;
        for trainee in self.stage.trainees() {
            trainee.save(&mut state)?;
        }
        self.stage.save(&mut state)?;
        state.insert("loop.", vec![NamedTensor::from_tensor("interval", &self.interval.sums)?])?;
        if let Some(kept) = kept {
            state.insert("kept.", kept.weights.clone())?;
        }
        let path = state.publish(job.run, self.newest_is_good)?;
        self.newest_is_good = true;
        (job.emit)(Event::Saved { path, step: self.step as usize });
        Ok(())
    }

    fn restore(&mut self, job: &mut Job) -> Result<()> {
        let (mut state, told) = ResumeState::latest(job.run, S::STAGE)?;
        if let Some(told) = told {
            self.newest_is_good = false;
            (job.emit)(Event::Warning(told));
        }
        let counters: Counters = state.counters()?;
        let (settings, input) = (self.stage.settings()?, self.stage.input());
        for told in counters.check_same(S::STAGE, &settings, &input, state.source())? {
            (job.emit)(Event::Warning(told));
        }
        counters.check(state.source())?;
        let device = self.stage.device().clone();
        let names = self.interval.names().to_vec();
        let sums = state.take_one("loop.interval", &[names.len() + 1])?.to_tensor(&device)?;
        self.interval = Interval::restored(names, sums, counters.interval_steps);
        if let Some(step) = counters.kept_step {
            let weights = self.stage.take_weights(&mut state, "kept.")?;
            self.kept = Some(Kept { step, score: counters.kept_score, weights });
        }
        let updates = counters.step - counters.skipped;
        for trainee in self.stage.trainees_mut() {
            trainee.restore(&mut state, updates, &device)?;
        }
        self.stage.restore(&mut state, updates)?;
        state.expect_empty()?;
        self.step = counters.step;
        self.validations_without_better = counters.validations_without_better;
        self.skips.restore(counters.skipped);
        self.restore_model(job)
    }

    /// The model file may be from a step after the checkpoint, which this run has yet to repeat.
    fn restore_model(&self, job: &mut Job) -> Result<()> {
        let Some(Kept { step, score, weights }) = &self.kept else { return Ok(()) };
        let wanted = self.stage.model_file(weights.clone(), *step, *score)?;
        match ModelFile::load(job.run.model_path(S::STAGE), wanted.kind()) {
            Ok(found) if found.same_as(&wanted) => Ok(()),
            _ => self.write_model(job),
        }
    }
}
