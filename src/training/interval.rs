//! Sums over a log interval, kept on the device so that no step synchronises with it, and in the resume state so that
//! stopping within an interval does not change the log.

use std::time::Instant;

use burn::tensor::{Device, Tensor};

/// The means over an interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Means {
    /// Of the loss terms, by name, in the order of the objective.
    pub(super) terms: Vec<(&'static str, f64)>,
    /// Of the global norm of the gradient before clipping.
    pub(super) gradient_norm: f64,
}

/// Running sums of the numbers of each step.
#[derive(Debug)]
pub(super) struct Interval {
    names: Vec<&'static str>,
    /// Of each term, then of the gradient norm, `[names + 1]`.
    pub(super) sums: Tensor<1>,
    /// Number of steps summed.
    pub(super) steps: u64,
    begun: Instant,
    timed_steps: u64,
}

impl Interval {
    /// For a loss with the terms `names`.
    pub(super) fn new(names: Vec<&'static str>, device: &Device) -> Self {
        let sums = Tensor::zeros([names.len() + 1], device);
        Self::restored(names, sums, 0)
    }

    /// Restores saved sums; the elapsed time is not restored.
    pub(super) fn restored(names: Vec<&'static str>, sums: Tensor<1>, steps: u64) -> Self {
        Self { names, sums, steps, begun: Instant::now(), timed_steps: 0 }
    }

    /// The loss terms.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Adds the numbers of a step, `[names + 1]`.
    pub(super) fn add(&mut self, numbers: Tensor<1>) {
        self.sums = self.sums.clone() + numbers;
        self.steps += 1;
        self.timed_steps += 1;
    }

    /// The means so far. Synchronises with the device.
    pub(super) fn means(&self) -> Means {
        let sums = self.sums.to_data_as::<f32>(); // sync
        let mut means = sums.iter::<f32>().map(|sum| f64::from(sum) / self.steps.max(1) as f64);
        Means {
            terms: self.names.iter().copied().zip(&mut means).collect(),
            gradient_norm: means.next().unwrap_or(f64::NAN),
        }
    }

    /// The means and the steps per second; resets the interval. Synchronises with the device.
    pub(super) fn finish(&mut self) -> (Means, f64) {
        let means = self.means();
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-9);
        let rate = self.timed_steps as f64 / seconds;
        *self = Self::restored(std::mem::take(&mut self.names), self.sums.zeros_like(), 0);
        (means, rate)
    }

    /// Excludes the time since `since`: a validation or a checkpoint is not training.
    pub(super) fn pause(&mut self, since: Instant) {
        self.begun += since.elapsed();
    }
}
