//! Sums over a log interval, kept on the device so that no step waits for it, and in the resume state so
//! that a stop in the middle changes no number of the log.

use std::time::Instant;

use burn::tensor::{Device, Tensor};

/// Running sums of a step's numbers.
#[derive(Debug)]
pub(super) struct Interval<const N: usize> {
    /// `[N]`.
    pub(super) sums: Tensor<1>,
    /// Steps in the sums.
    pub(super) steps: u64,
    begun: Instant,
    timed_steps: u64,
}

impl<const N: usize> Interval<N> {
    /// Numbers of a step.
    pub(super) const LEN: usize = N;

    pub(super) fn new(device: &Device) -> Self {
        Self { sums: Tensor::zeros([N], device), steps: 0, begun: Instant::now(), timed_steps: 0 }
    }

    /// Goes on from saved sums; the time before is not known.
    pub(super) fn restored(sums: Tensor<1>, steps: u64) -> Self {
        Self { sums, steps, begun: Instant::now(), timed_steps: 0 }
    }

    /// Adds the numbers of a step, `[1]` each.
    pub(super) fn add(&mut self, numbers: [Tensor<1>; N]) {
        self.sums = self.sums.clone() + Tensor::cat(numbers.to_vec(), 0);
        self.steps += 1;
        self.timed_steps += 1;
    }

    /// The means and the steps a second, and starts over. Reads the device.
    pub(super) fn finish(&mut self, device: &Device) -> ([f64; N], f64) {
        let sums = self.sums.to_data_as::<f32>(); // sync
        let mut means = [0.0; N];
        for (mean, sum) in means.iter_mut().zip(sums.iter::<f32>()) {
            *mean = f64::from(sum) / self.steps.max(1) as f64;
        }
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-9);
        let rate = self.timed_steps as f64 / seconds;
        *self = Self::new(device);
        (means, rate)
    }

    /// Leaves out the time since `since`: a validation or a checkpoint is no training.
    pub(super) fn pause(&mut self, since: Instant) {
        self.begun += since.elapsed();
    }
}
