//! Sampling on the host: from a slice of logits to the next token.

use rayon::prelude::*;

use super::generate::Pass;
use crate::error::{Error, Result};
use crate::ops::max;
use crate::sampling::{HostSteps, SamplingConfig};

/// Draws the codes of every row of a batch; `drawn` is called with the number of codes drawn per row.
pub(super) fn sample<C>(
    steps: &mut dyn HostSteps<C>,
    pass: &Pass<C>,
    config: &SamplingConfig,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let &Pass { rows, given, n_codes, .. } = pass;
    let batch = pass.conditions.len();
    let mut logits = steps.start(&pass.conditions, &pass.given_codes);
    let mut codes = vec![Vec::with_capacity(n_codes - given); rows];
    for position in given..n_codes {
        let codebook_size = logits.len() / batch;
        if config.is_guided() {
            guide(&mut logits, config.guidance_at(position, n_codes) as f32);
        }
        let numbers = pass.uniforms.par_chunks(n_codes);
        let chosen: Option<Vec<usize>> = (logits.par_chunks(codebook_size).zip(numbers))
            .map(|(row, numbers)| choose(row, config, numbers[position]))
            .collect();
        let mut chosen = chosen.ok_or_else(not_finite)?;
        codes.iter_mut().zip(&chosen).for_each(|(codes, &code)| codes.push(code as u16));
        drawn(position + 1 - given);
        if position + 1 < n_codes {
            if config.is_guided() {
                chosen.extend_from_within(..);
            }
            logits = steps.next(&chosen);
        }
    }
    Ok(codes)
}

/// What is said where [`choose`] finds no code.
pub(super) fn not_finite() -> Error {
    Error::invalid(
        "cannot sample: the prior's logits are not finite (its weights are damaged or its training \
         diverged; train it again with a lower learning rate)",
    )
}

/// Classifier-free guidance: extrapolates the first half of the rows away from the second, their unconditional
/// counterparts, which is dropped.
pub(super) fn guide(logits: &mut Vec<f32>, guidance: f32) {
    let half = logits.len() / 2;
    let (conditional, unconditional) = logits.split_at_mut(half);
    for (with, without) in conditional.iter_mut().zip(unconditional) {
        *with = *without + (*with - *without) * guidance;
    }
    logits.truncate(half);
}

/// The code of a row, by inverse transform sampling from the filtered distribution: codes partition [0, 1) in order of
/// their ids. `None` if the logits are not finite.
pub(super) fn choose(logits: &[f32], config: &SamplingConfig, uniform: f32) -> Option<usize> {
    if !logits.iter().fold(true, |all, logit| all & logit.is_finite()) {
        return None;
    }
    let max = max(logits);
    if config.is_greedy() {
        return logits.iter().position(|logit| *logit == max);
    }
    let max = f64::from(max);
    let least = least_of_top_k(logits, config);
    // Relative to the most probable code, whose weight is 1.
    let weight = |logit: f32| ((f64::from(logit) - max) / config.temperature).exp();
    let kept = logits.iter().enumerate().filter(|(_, logit)| **logit >= least);
    let mut weights: Vec<(usize, f64)> = kept.map(|(code, logit)| (code, weight(*logit))).collect();
    if let Some(p) = config.top_p
        && p < 1.0
    {
        keep_top_p(&mut weights, p);
    }
    if let Some(least) = config.min_p {
        // The most probable code has the weight 1.
        weights.retain(|(_, weight)| *weight >= least);
    }
    Some(inverse_cdf(&weights, uniform))
}

/// The lowest logit that top-k keeps.
fn least_of_top_k(logits: &[f32], config: &SamplingConfig) -> f32 {
    match config.top_k {
        Some(k) if k < logits.len() => {
            let mut sorted = logits.to_vec();
            let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            *least
        }
        _ => f32::NEG_INFINITY,
    }
}

/// Removes the codes that top-p excludes.
fn keep_top_p(weights: &mut Vec<(usize, f64)>, p: f64) {
    let mut sorted: Vec<f64> = weights.iter().map(|(_, weight)| *weight).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut missing = p * sorted.iter().sum::<f64>();
    let least = sorted.iter().find(|&&weight| {
        missing -= weight;
        missing <= 0.0
    });
    if let Some(least) = least {
        weights.retain(|(_, weight)| weight >= least);
    }
}

/// The first code whose cumulative weight exceeds `uniform` times the total: never one of weight 0.
fn inverse_cdf(weights: &[(usize, f64)], uniform: f32) -> usize {
    let target = f64::from(uniform) * weights.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for &(code, weight) in weights {
        if weight > 0.0 {
            sum += weight;
            last = code;
            if sum > target {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(super) mod tests {
    use super::*;

    /// Logits of the probabilities 0.1, 0.4, 0.2, 0.3, shifted: only differences matter.
    pub(crate) fn logits() -> [f32; 4] {
        [0.1f32, 0.4, 0.2, 0.3].map(|p| p.ln() + 3.0)
    }

    fn min_p(min_p: f64, top_p: Option<f64>) -> SamplingConfig {
        SamplingConfig { min_p: Some(min_p), top_p, ..SamplingConfig::default() }
    }

    pub(crate) fn config(top_k: Option<usize>, top_p: Option<f64>) -> SamplingConfig {
        SamplingConfig { top_k, top_p, ..SamplingConfig::default() }
    }

    /// The largest uniform number below 1 that a stream can give.
    pub(crate) const ALMOST_ONE: f32 = 1.0 - 1.0 / (1 << 24) as f32;

    /// Filters, uniform numbers and the resulting codes, worked out by hand from the probabilities above.
    pub(crate) fn cases() -> Vec<(SamplingConfig, Vec<(f32, usize)>)> {
        vec![
            // Cumulative: 0.1, 0.5, 0.7, 1.
            (
                config(None, None),
                vec![
                    (0.0, 0),
                    (0.09, 0),
                    (0.11, 1),
                    (0.49, 1),
                    (0.51, 2),
                    (0.71, 3),
                    (ALMOST_ONE, 3),
                ],
            ),
            // The two most probable are codes 1 and 3, 4 : 3.
            (config(Some(2), None), vec![(0.0, 1), (0.57, 1), (0.58, 3), (ALMOST_ONE, 3)]),
            (config(Some(1), None), vec![(0.0, 1), (ALMOST_ONE, 1)]),
            (config(Some(4), Some(1.0)), vec![(0.0, 0), (ALMOST_ONE, 3)]),
            // 0.4 reaches 0.39; 0.4 + 0.3 reaches 0.6; the three largest reach 0.85.
            (config(None, Some(0.39)), vec![(0.0, 1), (ALMOST_ONE, 1)]),
            (config(None, Some(0.6)), vec![(0.0, 1), (0.57, 1), (0.58, 3)]),
            (config(None, Some(0.85)), vec![(0.0, 1), (0.45, 2), (0.67, 3)]),
            // After top-k 2 the shares are 4/7 and 3/7, so 0.5 needs code 1 alone.
            (config(Some(2), Some(0.5)), vec![(0.0, 1), (ALMOST_ONE, 1)]),
            // At least .6 and .5 of .4: codes 1 and 3, and 2 too; after top-p .85, the three largest.
            (min_p(0.6, None), vec![(0.0, 1), (0.57, 1), (0.58, 3), (ALMOST_ONE, 3)]),
            (min_p(0.49, None), vec![(0.0, 1), (0.45, 2), (0.67, 3)]),
            (min_p(0.0, Some(0.6)), vec![(0.0, 1), (0.57, 1), (0.58, 3)]),
            (min_p(0.9, Some(0.85)), vec![(0.0, 1), (ALMOST_ONE, 1)]),
            // Temperature 1/2 squares the odds: 1, 16, 4, 9 of 30.
            (
                SamplingConfig { temperature: 0.5, ..SamplingConfig::default() },
                vec![(0.03, 0), (0.04, 1), (0.56, 1), (0.57, 2), (0.71, 3)],
            ),
            (
                SamplingConfig { temperature: 0.0, ..SamplingConfig::default() },
                vec![(0.0, 1), (ALMOST_ONE, 1)],
            ),
            (
                SamplingConfig { temperature: 1e-300, ..SamplingConfig::default() },
                vec![(0.0, 1), (ALMOST_ONE, 1)],
            ),
        ]
    }

    #[test]
    fn filters_and_uniform_numbers_give_the_hand_worked_codes() {
        for (config, draws) in cases() {
            for (uniform, code) in draws {
                assert_eq!(choose(&logits(), &config, uniform), Some(code), "{config:?} {uniform}");
            }
        }
    }

    #[test]
    fn the_first_of_the_most_probable_codes_is_found_among_any_number() {
        let greedy = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
        for n in [1, 15, 16, 17, 40] {
            for best in [0, n / 2, n - 1] {
                let mut logits: Vec<f32> = (0..n).map(|code| -1.0 - (code % 7) as f32).collect();
                logits[best] = 0.5;
                for config in [&greedy, &config(Some(1), None)] {
                    assert_eq!(choose(&logits, config, 0.7), Some(best), "{n} {config:?}");
                }
                logits[n - 1] = 0.5;
                assert_eq!(choose(&logits, &greedy, 0.7), Some(best));
                logits[best] = f32::INFINITY;
                assert_eq!(choose(&logits, &greedy, 0.7), None);
            }
        }
    }

    #[test]
    fn codes_as_probable_as_the_last_one_kept_stay() {
        let logits = [1.0, 0.0, 1.0, 1.0];
        let drawn = [0.1, 0.5, 0.9].map(|u| choose(&logits, &config(Some(2), None), u).unwrap());
        assert_eq!(drawn, [0, 2, 3]);
    }

    #[test]
    fn logits_that_are_not_finite_give_no_code() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(choose(&[0.0, broken, 1.0], &config(None, None), 0.5), None);
        }
    }

    #[test]
    fn many_draws_have_the_frequencies_of_the_distribution() {
        use crate::rng::{Purpose, stream};
        let mut rng = stream(0, Purpose::Sample, 0, 0);
        let mut counts = [0usize; 4];
        for _ in 0..20_000 {
            counts[choose(&logits(), &config(None, None), rng.uniform()).unwrap()] += 1;
        }
        for (count, probability) in counts.into_iter().zip([0.1, 0.4, 0.2, 0.3]) {
            assert!((count as f64 / 20_000.0 - probability).abs() < 0.012, "{counts:?}");
        }
    }
}
