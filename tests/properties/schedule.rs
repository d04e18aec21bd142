//! The learning rate.

use proptest::prelude::*;
use vqgen::training::LearningRate;

prop_compose! {
    fn schedules()(
        highest in 1e-9..10.0f64,
        share in 0.0..=1.0f64,
        warmup_steps in 0u64..5_000,
        steps in 1u64..20_000,
    ) -> LearningRate {
        LearningRate { highest, lowest: share * highest, warmup_steps, steps }
    }
}

proptest! {
    #[test]
    fn the_rate_is_above_zero_and_never_above_its_peak(rate in schedules(), step in 0u64..50_000) {
        let at = rate.at(step);
        let rounding = 1e-12 * rate.highest;
        prop_assert!(at >= 0.0 && at <= rate.highest + rounding, "{at}");
        prop_assert!(step < rate.warmup_steps || at >= rate.lowest - rounding, "{at}");
    }

    #[test]
    fn it_rises_through_the_warm_up_and_never_after(rate in schedules(), step in 0u64..50_000) {
        let (now, next) = (rate.at(step), rate.at(step + 1));
        let rounding = 1e-12 * rate.highest;
        if step + 1 < rate.warmup_steps {
            prop_assert!(next > now, "{now} {next}");
        } else {
            prop_assert!(next <= now + rounding, "{now} {next}");
        }
    }

    #[test]
    fn the_warm_up_ends_at_the_peak_and_the_training_at_the_lowest(rate in schedules()) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * rate.highest;
        if rate.warmup_steps > 0 {
            prop_assert!(near(rate.at(rate.warmup_steps - 1), rate.highest));
        }
        if rate.steps > rate.warmup_steps {
            prop_assert!(near(rate.at(rate.warmup_steps), rate.highest));
            prop_assert!(near(rate.at(rate.steps), rate.lowest));
            prop_assert!(near(rate.at(u64::MAX), rate.lowest));
        }
    }
}
