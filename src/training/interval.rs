//! Sums over a log interval, kept on the device so that no step waits for it, and in the resume state so
//! that a stop in the middle changes no number of the log.

use std::time::Instant;

use burn::tensor::{Device, Tensor};

/// Running sums of a step's numbers.
#[derive(Debug)]
pub(super) struct Interval {
    /// `[terms]`.
    pub(super) sums: Tensor<1>,
    /// Steps in the sums.
    pub(super) steps: u64,
    begun: Instant,
    timed_steps: u64,
}

impl Interval {
    pub(super) fn new(n_terms: usize, device: &Device) -> Self {
        Self::restored(Tensor::zeros([n_terms], device), 0)
    }

    /// Goes on from saved sums; the time before is not known.
    pub(super) fn restored(sums: Tensor<1>, steps: u64) -> Self {
        Self { sums, steps, begun: Instant::now(), timed_steps: 0 }
    }

    /// Adds the numbers of a step, `[terms]`.
    pub(super) fn add(&mut self, numbers: Tensor<1>) {
        self.sums = self.sums.clone() + numbers;
        self.steps += 1;
        self.timed_steps += 1;
    }

    /// The means so far. Reads the device.
    pub(super) fn means(&self) -> Vec<f64> {
        let sums = self.sums.to_data_as::<f32>(); // sync
        sums.iter::<f32>().map(|sum| f64::from(sum) / self.steps.max(1) as f64).collect()
    }

    /// The means and the steps a second, and starts over. Reads the device.
    pub(super) fn finish(&mut self) -> (Vec<f64>, f64) {
        let means = self.means();
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-9);
        let rate = self.timed_steps as f64 / seconds;
        *self = Self::restored(self.sums.zeros_like(), 0);
        (means, rate)
    }

    /// Leaves out the time since `since`: a validation or a checkpoint is no training.
    pub(super) fn pause(&mut self, since: Instant) {
        self.begun += since.elapsed();
    }
}
