//! The learning rate as a pure function of the step: linear warm-up, then constant or a cosine decay.

/// The parameters of a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    /// The rate at the end of the warm-up.
    pub highest: f64,
    /// The rate at the last step; `highest` for a constant rate.
    pub lowest: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Total steps.
    pub steps: u64,
}

impl LearningRate {
    /// The learning rate of update `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.highest * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / rest).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.lowest + (self.highest - self.lowest) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_by_half_a_cosine() {
        let rate = LearningRate { highest: 1.0, lowest: 0.1, warmup_steps: 10, steps: 110 };
        assert_eq!(rate.at(0), 0.1);
        assert_eq!(rate.at(9), 1.0);
        assert_eq!(rate.at(10), 1.0);
        assert!((rate.at(60) - 0.55).abs() < 1e-12);
        assert!((rate.at(110) - 0.1).abs() < 1e-12);
        assert!((rate.at(1000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn equal_ends_make_it_constant() {
        let rate = LearningRate { highest: 3e-4, lowest: 3e-4, warmup_steps: 0, steps: 5 };
        assert!((0..9).all(|step| (rate.at(step) - 3e-4).abs() < 1e-18));
    }
}
