//! Estimates the remaining time, once, from the first few seconds.

use std::time::Instant;

/// Seconds to measure; the first step (caches, tuning) is excluded.
const ENOUGH_SECONDS: f64 = 5.0;

/// The speed of training since it began or resumed.
pub(super) struct Pace {
    /// When the second step began, and how many steps since.
    begun: Option<Instant>,
    steps: u64,
    told: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { begun: None, steps: 0, told: false }
    }

    /// The estimated seconds for `steps_left` steps, returned once; to be called after each step.
    pub(super) fn seconds_left(&mut self, steps_left: u64) -> Option<f64> {
        if self.told {
            return None;
        }
        let Some(begun) = self.begun else {
            self.begun = Some(Instant::now());
            return None;
        };
        self.steps += 1;
        let seconds = begun.elapsed().as_secs_f64();
        if seconds < ENOUGH_SECONDS {
            return None;
        }
        self.told = true;
        Some(seconds / self.steps as f64 * steps_left as f64)
    }

    /// Excludes the time since `since`: a validation or a checkpoint is not training.
    pub(super) fn pause(&mut self, since: Instant) {
        if let Some(begun) = &mut self.begun {
            *begun += since.elapsed();
        }
    }
}
