//! The moving averages of a codebook.

use burn::tensor::Tensor;
use vqgen_kernels as kernels;

pub use vqgen_kernels::{AverageStep, Averages};

/// Adds the sums of a batch to `averages`; a code's vector becomes its corrected average over its `smoothed` count, or
/// stays where its count is 0. Without autodiff.
///
/// # Shapes
/// - `batch`: `[codes, dim]`
/// - `counts`, `smoothed`: `[codes]`
pub fn moving_average(
    averages: Averages,
    batch: Tensor<2>,
    [counts, smoothed]: [Tensor<1>; 2],
    step: AverageStep,
) -> Averages {
    if kernels::runs_here(&batch) {
        return kernels::moving_average(averages, batch, [counts, smoothed], step);
    }
    plain_moving_average(averages, batch, [counts, smoothed], step)
}

/// What [`moving_average`] computes, in Burn's own operations.
fn plain_moving_average(
    averages: Averages,
    batch: Tensor<2>,
    [counts, smoothed]: [Tensor<1>; 2],
    step: AverageStep,
) -> Averages {
    let [codes, dim] = batch.dims();
    let sums = averages.sums.mul_scalar(step.kept) + batch.mul_scalar(step.added);
    let never_used = counts.equal_scalar(0.0).reshape([codes, 1]).expand([codes, dim]);
    let means = sums.clone().mul_scalar(step.correction)
        / smoothed.reshape([codes, 1]).expand([codes, dim]);
    Averages { vectors: means.mask_where(never_used, averages.vectors), sums }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::rng::{Purpose, stream};

    fn random<const D: usize>(item: u64, shape: [usize; D]) -> Tensor<D> {
        let mut rng = stream(3, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition_in_every_bit() {
        let step = AverageStep { kept: 0.99, added: 1.0 - 0.99, correction: 1.0 / 0.0394 };
        for [codes, dim] in [[1, 1], [3, 40], [300, 64], [5000, 7]] {
            let counts = random(0, [codes]).clamp_min(0.0);
            let smoothed = random(1, [codes]).abs().add_scalar(0.1);
            let found = [moving_average, plain_moving_average].map(|average| {
                let averages =
                    Averages { sums: random(2, [codes, dim]), vectors: random(3, [codes, dim]) };
                let counts = [counts.clone(), smoothed.clone()];
                let Averages { sums, vectors } =
                    average(averages, random(4, [codes, dim]), counts, step);
                [sums.into_data(), vectors.into_data()]
            });
            let [kernel, plain] = found;
            for (actual, wanted) in kernel.into_iter().zip(plain) {
                actual.assert_eq(&wanted, true);
            }
        }
    }
}
