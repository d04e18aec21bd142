//! Drawing codes by tensor operations, for devices with their own memory: nothing is read back before the last code is
//! drawn.
//!
//! Burn has no sort on a GPU (it would read the logits back), so top-k and top-p find their threshold by bisection:
//! both keep the codes above a weight, and the amount above decreases as that weight rises.

use burn::tensor::{Int, Tensor, TensorData};

use super::generate::Pass;
use crate::error::{Error, Result};
use crate::sampling::{DeviceSteps, SamplingConfig};

/// Bisection steps over the interval [0, 2] of the threshold, relative to the most probable code's weight of 1: their
/// resolution is 2e-9.
const HALVINGS: usize = 30;

/// Draws the codes of every row of a batch; `drawn` is called with the number of codes drawn per row.
pub(super) fn sample<C>(
    steps: &mut dyn DeviceSteps<C>,
    pass: &Pass<C>,
    config: &SamplingConfig,
    drawn: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u16>>> {
    let &Pass { rows, given, n_codes, .. } = pass;
    let device = steps.device();
    let mut logits = steps.start(&pass.conditions, &pass.given_codes);
    let uniforms = TensorData::new(pass.uniforms.clone(), [rows, n_codes]);
    let uniforms = Tensor::<2>::from_data(uniforms, &device);
    let mut codes = Vec::with_capacity(n_codes - given);
    for position in given..n_codes {
        let uniform = uniforms.clone().slice([0..rows, position..position + 1]);
        let guided = match config.is_guided() {
            true => guide(logits, config.guidance_at(position, n_codes)),
            false => logits,
        };
        let chosen = choose(guided, config, uniform);
        codes.push(chosen.clone());
        drawn(position + 1 - given);
        if position + 1 == n_codes {
            break;
        }
        let next = match config.is_guided() {
            true => Tensor::cat(vec![chosen.clone(), chosen], 0),
            false => chosen,
        };
        logits = steps.next(next);
    }
    let n_drawn = codes.len();
    let codes = Tensor::stack::<2>(codes, 1); // [rows, drawn]
    let codes: Vec<i32> = codes.try_into_vec_as().map_err(|error| {
        Error::invalid(format!("cannot sample: the device did not return its result: {error}"))
    })?; // sync
    let rows = codes.chunks(n_drawn);
    Ok(rows.map(|row| row.iter().map(|&code| code as u16).collect()).collect())
}

/// # Shapes
/// - logits: `[2 * rows, codebook_size]`, unconditional ones last
/// - output: `[rows, codebook_size]`
pub(super) fn guide(logits: Tensor<2>, guidance: f64) -> Tensor<2> {
    let [both, codebook_size] = logits.dims();
    let rows = both / 2;
    let conditional = logits.clone().slice([0..rows, 0..codebook_size]);
    let unconditional = logits.slice([rows..both, 0..codebook_size]);
    unconditional.clone() + (conditional - unconditional).mul_scalar(guidance)
}

/// One code per row, by the rules of the host's `choose`; sums are f32, so a uniform number within rounding of a
/// boundary may fall on its other side.
///
/// # Shapes
/// - logits: `[rows, codebook_size]`
/// - uniform: `[rows, 1]`
/// - output: `[rows]`
pub(super) fn choose(
    logits: Tensor<2>,
    config: &SamplingConfig,
    uniform: Tensor<2>,
) -> Tensor<1, Int> {
    let [rows, codebook_size] = logits.dims();
    if config.is_greedy() {
        return logits.argmax(1).reshape([rows]);
    }
    let shifted = logits.clone() - logits.max_dim(1);
    // Bounded, because 1 / temperature may be infinite in f32 and 0 times infinity is NaN.
    let mut weights = shifted.mul_scalar((1.0 / config.temperature).min(1e30)).exp();
    if let Some(k) = config.top_k
        && k < codebook_size
    {
        let wanted = Tensor::full([rows, 1], k as f32, &weights.device());
        weights = keep_most_probable(weights, wanted, |kept, _| kept);
    }
    if let Some(p) = config.top_p
        && p < 1.0
    {
        let wanted = weights.clone().sum_dim(1).mul_scalar(p);
        weights = keep_most_probable(weights, wanted, |kept, weights| kept * weights);
    }
    if let Some(least) = config.min_p {
        // The most probable code has the weight 1.
        weights = weights.clone() * weights.greater_equal_elem(least as f32).float();
    }
    inverse_cdf(weights, uniform)
}

/// Zeroes the weights below the highest threshold at which the sum of `amount` over the kept ones still reaches
/// `wanted` (`[rows, 1]`).
fn keep_most_probable(
    weights: Tensor<2>,
    wanted: Tensor<2>,
    amount: fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
) -> Tensor<2> {
    let kept = |least: &Tensor<2>| weights.clone().greater_equal(least.clone()).float();
    let mut low = wanted.zeros_like();
    let mut high = wanted.full_like(2.0);
    for _ in 0..HALVINGS {
        let middle = (low.clone() + high.clone()).mul_scalar(0.5);
        let reached =
            amount(kept(&middle), weights.clone()).sum_dim(1).greater_equal(wanted.clone());
        low = low.mask_where(reached.clone(), middle.clone());
        high = middle.mask_where(reached, high);
    }
    kept(&low) * weights
}

/// # Shapes
/// - weights: `[rows, codes]`
/// - uniform: `[rows, 1]`
/// - output: `[rows]`
fn inverse_cdf(weights: Tensor<2>, uniform: Tensor<2>) -> Tensor<1, Int> {
    let [rows, codes] = weights.dims();
    let sums = weights.clone().cumsum(1);
    let total = sums.clone().slice([0..rows, codes - 1..codes]);
    let beyond = sums.greater(total * uniform).float();
    let possible = weights.clone().greater_elem(0.0).float();
    // The first possible code beyond has the highest score; if rounding in a parallel sum leaves none, the most
    // probable code has.
    let first = Tensor::<1, Int>::arange(0..codes as i64, &weights.device()).float();
    let first = (first.neg() + codes as f32).mul_scalar(2.0).unsqueeze(); // [1, codes]: 2·codes … 2
    let score = beyond * possible * first + weights;
    score.argmax(1).reshape([rows])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use crate::sampling::host::{self, tests::cases, tests::logits};
    use burn::tensor::{Device, TensorData};

    fn draw(logits: &[f32], config: &SamplingConfig, uniforms: &[f32]) -> Vec<i32> {
        let device = Device::flex();
        let rows = uniforms.len();
        let repeated = TensorData::new(logits.repeat(rows), [rows, logits.len()]);
        let logits = Tensor::from_data(repeated, &device);
        let uniforms = Tensor::from_data(TensorData::new(uniforms.to_vec(), [rows, 1]), &device);
        choose(logits, config, uniforms).into_data().try_into_vec().unwrap()
    }

    #[test]
    fn filters_and_uniform_numbers_give_the_hand_worked_codes() {
        for (config, draws) in cases() {
            let (uniforms, codes): (Vec<f32>, Vec<usize>) = draws.into_iter().unzip();
            let drawn = draw(&logits(), &config, &uniforms);
            let drawn: Vec<usize> = drawn.into_iter().map(|code| code as usize).collect();
            assert_eq!(drawn, codes, "{config:?}");
        }
    }

    #[test]
    fn it_chooses_what_the_host_chooses() {
        let mut rng = stream(0, Purpose::Sample, 0, 0);
        let logits: Vec<f32> = (0..300).map(|_| rng.normal() * 3.0).collect();
        let uniforms: Vec<f32> = (0..200).map(|_| rng.uniform()).collect();
        for (top_k, top_p) in
            [(None, None), (Some(20), None), (None, Some(0.9)), (Some(50), Some(0.7))]
        {
            let config = SamplingConfig { top_k, top_p, ..SamplingConfig::default() };
            let host = uniforms.iter().map(|&u| host::choose(&logits, &config, u).unwrap() as i32);
            let device = draw(&logits, &config, &uniforms);
            let different = host.zip(device).filter(|(a, b)| a != b).count();
            // Equal, except for a draw within rounding of a boundary.
            assert!(different <= 1, "{different} of 200 draws differ with {config:?}");
        }
    }
}
