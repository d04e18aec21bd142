//! Nearest-code search, codebook lookup, and the per-code sums that codebook updates need.

use burn::tensor::{Int, Tensor};
use vqgen_kernels as kernels;

pub use vqgen_kernels::CodeSums;

/// Rows whose distances are held at once: limits the distance matrix to 64 MB at 512 codes.
const ROWS_AT_ONCE: usize = 32_768;

/// The code nearest to each latent by Euclidean distance; the lowest id wins a tie.
///
/// # Shapes
/// - `latents`: `[n, dim]`
/// - `codebook`: `[codes, dim]`
/// - output: `[n]`
pub fn nearest_code(latents: Tensor<2>, codebook: Tensor<2>) -> Tensor<1, Int> {
    if kernels::runs_here(&latents) {
        return kernels::nearest_code(latents, codebook);
    }
    plain_nearest_code(latents, codebook)
}

/// What [`nearest_code`] computes, in Burn's own operations.
fn plain_nearest_code(latents: Tensor<2>, codebook: Tensor<2>) -> Tensor<1, Int> {
    let [n, dim] = latents.dims();
    let transposed = codebook.clone().transpose(); // [dim, codes]
    let norms = codebook.square().sum_dim(1).transpose(); // [1, codes]
    // |z - e|^2 without the term |z|^2, which is the same for all codes of a row.
    let nearest = |rows: Tensor<2>| -> Tensor<1, Int> {
        let distances = norms.clone() - rows.matmul(transposed.clone()).mul_scalar(2.0);
        distances.argmin(1).squeeze_dim(1)
    };
    if n <= ROWS_AT_ONCE {
        return nearest(latents);
    }
    let parts = (0..n).step_by(ROWS_AT_ONCE).map(|start| {
        let end = (start + ROWS_AT_ONCE).min(n);
        nearest(latents.clone().slice([start..end, 0..dim]))
    });
    Tensor::cat(parts.collect(), 0)
}

/// Counts and sums of latents by code, as a matmul with the one-hot matrix: scatter kernels are serial over the rows on
/// a GPU.
///
/// # Shapes
/// - `latents`: `[n, dim]`
/// - `codes`: `[n]`, each below `n_codes`
pub fn sums_by_code(latents: Tensor<2>, codes: Tensor<1, Int>, n_codes: usize) -> CodeSums {
    if kernels::runs_here(&latents) {
        return kernels::sums_by_code(latents, codes, n_codes);
    }
    plain_sums_by_code(latents, codes, n_codes)
}

/// What [`sums_by_code`] computes, in Burn's own operations.
fn plain_sums_by_code(latents: Tensor<2>, codes: Tensor<1, Int>, n_codes: usize) -> CodeSums {
    let one_hot = one_hot(codes, n_codes);
    CodeSums { counts: one_hot.clone().sum_dim(1).squeeze_dim(1), sums: one_hot.matmul(latents) }
}

/// How many latents each code is assigned, `[n_codes]`.
///
/// # Shapes
/// - `codes`: `[n]`, each below `n_codes`
pub fn counts_by_code(codes: Tensor<1, Int>, n_codes: usize) -> Tensor<1> {
    if kernels::runs_on_host(&codes.device()) {
        return kernels::counts_by_code(codes, n_codes);
    }
    one_hot(codes, n_codes).sum_dim(1).squeeze_dim(1)
}

/// Which latents have which code, `[codes, n]`.
fn one_hot(codes: Tensor<1, Int>, n_codes: usize) -> Tensor<2> {
    let ([n], device) = (codes.dims(), codes.device());
    let ids = Tensor::<1, Int>::arange(0..n_codes as i64, &device).reshape([n_codes, 1]);
    ids.expand([n_codes, n]).equal(codes.reshape([1, n]).expand([n_codes, n])).float()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn the_nearest_code_is_the_one_at_the_smallest_distance() {
        let device = Device::flex();
        let codebook = Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 1.0], [5.0, 0.0]], &device);
        let latents = Tensor::<2>::from_floats([[0.9, 0.8], [4.0, 0.1], [-3.0, 0.2]], &device);
        let codes = nearest_code(latents, codebook).into_data();
        codes.assert_eq(&TensorData::from([1, 2, 0]), false);
    }

    #[test]
    fn a_tie_goes_to_the_lowest_id() {
        let device = Device::flex();
        let codebook = Tensor::<2>::from_floats([[1.0], [-1.0], [1.0]], &device);
        let codes = nearest_code(Tensor::from_floats([[0.0], [2.0]], &device), codebook);
        codes.into_data().assert_eq(&TensorData::from([0, 0]), false);
    }

    fn random(item: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
        let mut rng = stream(5, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    #[test]
    fn the_cpu_kernels_agree_with_the_compositions() {
        let device = Device::flex();
        for (n, dim, codes) in [(1, 1, 1), (300, 3, 17), (129, 64, 512), (5, 33, 40)] {
            let (latents, codebook) =
                (random(0, [n, dim], &device), random(1, [codes, dim], &device));
            let nearest = nearest_code(latents.clone(), codebook.clone());
            let wanted = plain_nearest_code(latents.clone(), codebook);
            nearest.clone().into_data().assert_eq(&wanted.into_data(), false);
            let actual = sums_by_code(latents.clone(), nearest.clone(), codes);
            let wanted = plain_sums_by_code(latents, nearest, codes);
            actual.counts.into_data().assert_eq(&wanted.counts.into_data(), true);
            let tolerance = Tolerance::rel_abs(1e-5, 1e-5);
            let wanted = wanted.sums.into_data();
            actual.sums.into_data().assert_approx_eq::<f32>(&wanted, tolerance);
        }
    }

    #[test]
    fn sums_by_code_add_the_latents_of_each_code() {
        let device = Device::flex();
        let latents = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let codes = Tensor::<1, Int>::from_ints([2, 0, 2], &device);
        let CodeSums { counts, sums } = sums_by_code(latents, codes, 3);
        counts.into_data().assert_eq(&TensorData::from([1.0f32, 0.0, 2.0]), true);
        let codes = Tensor::<1, Int>::from_ints([2, 0, 2], &device);
        let counts = counts_by_code(codes.clone(), 3).into_data();
        counts.assert_eq(&TensorData::from([1.0f32, 0.0, 2.0]), true);
        one_hot(codes, 3).sum_dim(1).squeeze_dim::<1>(1).into_data().assert_eq(&counts, true);
        let wanted = TensorData::from([[3.0f32, 4.0], [0.0, 0.0], [6.0, 8.0]]);
        sums.into_data().assert_eq(&wanted, true);
    }
}
