//! Sampling, with a model of given logits: what is drawn is allowed by the filters.

use proptest::prelude::*;
use vqgen::sampling::{CodeModel, HostSteps, NextCode, Request, SamplingConfig, Steps, generate};

/// Codes of one image: repeated draws from one row of logits.
const N_CODES: usize = 32;

/// The same logits whatever precedes them.
struct Fixed(Vec<f32>);

impl CodeModel for Fixed {
    type Condition = ();

    fn codebook_size(&self) -> usize {
        self.0.len()
    }

    fn n_codes(&self) -> usize {
        N_CODES
    }

    fn check(&self, (): &()) -> vqgen::error::Result<()> {
        Ok(())
    }

    fn without(&self, (): &()) -> Option<()> {
        None
    }
}

impl NextCode for Fixed {
    fn steps(&mut self) -> Steps<'_, ()> {
        Steps::Host(self)
    }
}

impl HostSteps<()> for Fixed {
    fn start(&mut self, conditions: &[()], _given: &[usize]) -> Vec<f32> {
        self.0.repeat(conditions.len())
    }

    fn next(&mut self, codes: &[usize]) -> Vec<f32> {
        self.0.repeat(codes.len())
    }
}

fn draw(logits: &[f32], config: &SamplingConfig, seed: u64) -> Vec<usize> {
    let requests = [Request::default()];
    let config = SamplingConfig { lanes: 1, ..config.clone() };
    let drawn = generate(&mut Fixed(logits.to_vec()), &requests, &config, seed, &mut |_, _| ());
    drawn.unwrap().remove(0).into_iter().map(usize::from).collect()
}

/// Logits that are all different, so that ranks are unique.
fn distinct() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::btree_set(-300i32..300, 2..20)
        .prop_map(|steps| steps.into_iter().map(|step| step as f32 / 32.0).collect::<Vec<_>>())
        .prop_shuffle()
}

/// Probabilities in decreasing order, with their codes.
fn ranked(logits: &[f32], temperature: f64) -> Vec<(f64, usize)> {
    let weights: Vec<f64> =
        logits.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut ranked: Vec<(f64, usize)> =
        weights.into_iter().enumerate().map(|(code, weight)| (weight / total, code)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn top_k_draws_only_the_k_likeliest(logits in distinct(), k in 1usize..20, seed in any::<u64>()) {
        let k = k.min(logits.len());
        let config = SamplingConfig { top_k: Some(k), ..SamplingConfig::default() };
        let allowed: Vec<usize> = ranked(&logits, 1.0)[..k].iter().map(|(_, code)| *code).collect();
        for code in draw(&logits, &config, seed) {
            prop_assert!(allowed.contains(&code), "{code} of {allowed:?}");
        }
    }

    #[test]
    fn top_p_draws_only_codes_that_are_needed_to_reach_p(
        logits in distinct(),
        p in 0.01..1.0f64,
        temperature in 0.2..4.0f64,
        seed in any::<u64>(),
    ) {
        let config = SamplingConfig { top_p: Some(p), temperature, ..SamplingConfig::default() };
        let drawn = draw(&logits, &config, seed);
        let mut likelier = 0.0;
        for (probability, code) in ranked(&logits, temperature) {
            // A code is kept while the more probable ones sum to less than p.
            prop_assert!(likelier < p + 1e-9 || !drawn.contains(&code), "{code} after {likelier}");
            likelier += probability;
        }
    }

    #[test]
    fn greedy_takes_the_likeliest_code_whatever_the_seed(logits in distinct(), seed in any::<u64>()) {
        let best = ranked(&logits, 1.0)[0].1;
        for (temperature, top_k) in [(0.0, None), (1.0, Some(1)), (1e-300, None)] {
            let config = SamplingConfig { temperature, top_k, ..SamplingConfig::default() };
            prop_assert_eq!(draw(&logits, &config, seed), vec![best; N_CODES]);
        }
    }

    #[test]
    fn filters_that_keep_everything_change_nothing(logits in distinct(), seed in any::<u64>()) {
        let all = SamplingConfig {
            top_k: Some(logits.len()),
            top_p: Some(1.0),
            ..SamplingConfig::default()
        };
        let plain = draw(&logits, &SamplingConfig::default(), seed);
        prop_assert!(plain.iter().all(|code| *code < logits.len()));
        prop_assert_eq!(draw(&logits, &all, seed), plain);
    }

    #[test]
    fn a_shift_of_all_logits_changes_nothing(logits in distinct(), shift in -64i32..64, seed in any::<u64>()) {
        let shifted: Vec<f32> = logits.iter().map(|logit| logit + shift as f32).collect();
        let config = SamplingConfig { top_p: Some(0.9), ..SamplingConfig::default() };
        prop_assert_eq!(draw(&logits, &config, seed), draw(&shifted, &config, seed));
    }
}
