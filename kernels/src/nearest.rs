//! Nearest codes and per-code sums over slices, without materialising the full distance matrix.

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::math::max;
use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, Right, multiply};
use super::scratch::with_scratch;
use super::wide::vectorised;

/// Latents whose distances are held at once.
const ROWS: usize = 128;

/// The code nearest to each latent by Euclidean distance; the lowest id wins a tie. The GEMM is f32 whatever the
/// precision elsewhere: rounding could change which code is nearest.
///
/// # Shapes
/// - latents: `[n, dim]`
/// - codebook: `[codes, dim]`
/// - output: `[n]`
pub fn nearest_code(latents: Tensor<2>, codebook: Tensor<2>) -> Tensor<1, Int> {
    let ([n, dim], [codes, _], device) = (latents.dims(), codebook.dims(), latents.device());
    let (latents, codebook) = (values(latents), values(codebook));
    let halves: Vec<f32> = codebook
        .chunks_exact(dim)
        .map(|row| row.iter().map(|v| v * v).sum::<f32>() / 2.0)
        .collect();
    let right = Matrix::new(&codebook, codes, dim).transposed();
    let right = Right::shared(right, Precision::F32);
    let mut nearest = vec![0i32; n];
    nearest.par_chunks_mut(ROWS).enumerate().for_each(|(index, nearest)| {
        let (first, rows) = (index * ROWS, nearest.len());
        let latents = Matrix::new(&latents[first * dim..], rows, dim);
        with_scratch(rows * codes, |products| {
            let out = MatrixMut::new(products, rows, codes);
            multiply(out, &Left::new(latents, Precision::F32), &right, false);
            for (nearest, products) in nearest.iter_mut().zip(products.chunks_exact_mut(codes)) {
                *nearest = first_least_distance(&halves, products) as i32;
            }
        });
    });
    Tensor::from_data(TensorData::new(nearest, [n]), &device)
}

/// How many latents each code is assigned, and their sum.
#[derive(Debug, Clone)]
pub struct CodeSums {
    /// `[codes]`.
    pub counts: Tensor<1>,
    /// `[codes, dim]`.
    pub sums: Tensor<2>,
}

/// Counts and sums of latents by code.
///
/// # Shapes
/// - latents: `[n, dim]`
/// - codes: `[n]`, each below `n_codes`
pub fn sums_by_code(latents: Tensor<2>, codes: Tensor<1, Int>, n_codes: usize) -> CodeSums {
    let ([_, dim], device) = (latents.dims(), latents.device());
    let latents = values(latents);
    let codes = codes.into_data();
    let (mut counts, mut sums) = (vec![0.0f32; n_codes], vec![0.0f32; n_codes * dim]);
    for (row, code) in latents.chunks_exact(dim).zip(codes.iter::<i64>()) {
        let code = code as usize;
        counts[code] += 1.0;
        let sums = &mut sums[code * dim..(code + 1) * dim];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    CodeSums {
        counts: Tensor::from_data(TensorData::new(counts, [n_codes]), &device),
        sums: Tensor::from_data(TensorData::new(sums, [n_codes, dim]), &device),
    }
}

/// Counts of latents by code.
///
/// # Shapes
/// - codes: `[n]`, each below `n_codes`
/// - output: `[n_codes]`
pub fn counts_by_code(codes: Tensor<1, Int>, n_codes: usize) -> Tensor<1> {
    let device = codes.device();
    let mut counts = vec![0.0f32; n_codes];
    codes.into_data().iter::<i64>().for_each(|code| counts[code as usize] += 1.0);
    Tensor::from_data(TensorData::new(counts, [n_codes]), &device)
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_else(|_| unreachable!("an f32 tensor"))
}

vectorised! {
    /// The index where `products - halves` is largest, and so the distance smallest; the first of several. `products`
    /// is overwritten.
    fn first_least_distance(halves: &[f32], products: &mut [f32]) -> usize {
        for (product, half) in products.iter_mut().zip(halves) {
            *product -= half;
        }
        let most = max(products);
        products.iter().position(|&value| value == most).unwrap_or(0)
    }
}
