//! Residual quantization: the codes of all levels.

use burn::tensor::Tensor;
use vqgen_kernels as kernels;

use super::nearest::nearest_code;

pub(crate) use vqgen_kernels::ResidualCodes;

/// Quantizes `latents` by the nearest vector of each codebook in turn. Neither may have a gradient.
///
/// # Shapes
/// - `latents`: `[n, dim]`
/// - `codebooks`: `[codes, dim]` each, at least one
pub(crate) fn residual_codes(latents: Tensor<2>, codebooks: Vec<Tensor<2>>) -> ResidualCodes {
    if kernels::runs_here(&latents) {
        return kernels::residual_codes(latents, codebooks);
    }
    plain_residual_codes(latents, codebooks)
}

/// What [`residual_codes`] computes, in Burn's own operations.
fn plain_residual_codes(latents: Tensor<2>, codebooks: Vec<Tensor<2>>) -> ResidualCodes {
    let mut residual = latents.clone();
    let mut vectors = latents.zeros_like();
    let mut left_over = latents.zeros_like();
    let (mut levels, mut errors) = (Vec::new(), Vec::new());
    for codebook in codebooks {
        let codes = nearest_code(residual.clone(), codebook.clone());
        let chosen = codebook.select(0, codes.clone());
        let after = residual.clone() - chosen.clone();
        vectors = vectors + chosen;
        left_over = left_over + after.clone();
        errors.push(after.clone().square().mean());
        levels.push((residual, codes));
        residual = after;
    }
    ResidualCodes { levels, vectors, left_over, error: Tensor::cat(errors, 0).mean() }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;
    use crate::rng::{Purpose, stream};

    fn random(item: u64, shape: [usize; 2]) -> Tensor<2> {
        let mut rng = stream(11, Purpose::Weights, 0, item);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn the_cpu_kernel_agrees_with_the_composition() {
        for (n, dim, codes, depth) in [(1, 1, 2, 2), (300, 5, 17, 3), (129, 64, 600, 8)] {
            let books = || (0..depth).map(|level| random(1 + level, [codes, dim])).collect();
            let latents = random(0, [n, dim]);
            let actual = residual_codes(latents.clone(), books());
            let wanted = plain_residual_codes(latents, books());
            assert_eq!(actual.levels.len(), wanted.levels.len());
            for ((actual, codes), (wanted, wanted_codes)) in actual.levels.iter().zip(wanted.levels)
            {
                codes.clone().into_data().assert_eq(&wanted_codes.into_data(), false);
                actual.clone().into_data().assert_eq(&wanted.into_data(), true);
            }
            actual.vectors.into_data().assert_eq(&wanted.vectors.into_data(), true);
            actual.left_over.into_data().assert_eq(&wanted.left_over.into_data(), true);
            let near = Tolerance::rel_abs(1e-5, 1e-6);
            actual.error.into_data().assert_approx_eq::<f32>(&wanted.error.into_data(), near);
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let books = (0..4).map(|level| random(1 + level, [40, 9])).collect();
            let run = || residual_codes(random(0, [1000, 9]), books);
            let ResidualCodes { vectors, error, .. } = match pool {
                Ok(pool) => pool.install(run),
                Err(error) => panic!("{error}"),
            };
            (vectors.into_data(), error.into_data())
        };
        assert_eq!(run(1), run(3));
    }
}
