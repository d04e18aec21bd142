//! Nearest codes and per-code sums over slices, without materialising the full distance matrix.

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::decode::values;
use super::math::{largest_difference, place_of_difference};
use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, Right, multiply_from};
use super::scratch::with_scratch;
use super::wide::vectorised;

/// Latents of a task.
pub(super) const ROWS: usize = 128;
/// Codes whose products with these are held at once: 128 KiB, which stay in a core's cache.
const CODES: usize = 256;

/// The vectors of a codebook, packed for the search. The GEMM is f32 whatever the precision elsewhere: rounding could
/// change which code is nearest.
pub(super) struct Codes {
    /// `[codes, dim]`.
    vectors: Vec<f32>,
    /// Half the squared length of each.
    halves: Vec<f32>,
    right: Right,
    dim: usize,
}

impl Codes {
    /// # Shapes
    /// - vectors: `[codes, dim]`
    pub(super) fn of(vectors: Tensor<2>) -> Self {
        let [codes, dim] = vectors.dims();
        let vectors = values(vectors);
        let half = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>() / 2.0;
        let halves = vectors.par_chunks_exact(dim).with_min_len(256).map(half).collect();
        let right = Matrix::new(&vectors, codes, dim).transposed();
        let right = Right::shared(right, Precision::F32);
        Self { vectors, halves, right, dim }
    }

    /// The vector of a code.
    pub(super) fn vector(&self, code: usize) -> &[f32] {
        &self.vectors[code * self.dim..(code + 1) * self.dim]
    }

    /// Sets the codes of up to [`ROWS`] latents, on this thread.
    ///
    /// # Shapes
    /// - latents: `[nearest.len(), dim]`
    pub(super) fn nearest(&self, latents: &[f32], nearest: &mut [i32]) {
        let (rows, codes) = (nearest.len(), self.halves.len());
        let latents = Left::new(Matrix::new(latents, rows, self.dim), Precision::F32);
        let mut best = [f32::NEG_INFINITY; ROWS];
        nearest.fill(0);
        with_scratch(rows * CODES.min(codes), |products| {
            for first in (0..codes).step_by(CODES) {
                let halves = &self.halves[first..codes.min(first + CODES)];
                let products = &mut products[..rows * halves.len()];
                let out = MatrixMut::new(products, rows, halves.len());
                multiply_from(out, &latents, &self.right, first);
                let rows = products.chunks_exact(halves.len());
                for ((nearest, best), products) in nearest.iter_mut().zip(&mut best).zip(rows) {
                    if let Some(code) = nearer(halves, products, best) {
                        *nearest = (first + code) as i32;
                    }
                }
            }
        });
    }
}

/// The code nearest to each latent by Euclidean distance; the lowest id wins a tie.
///
/// # Shapes
/// - latents: `[n, dim]`
/// - codebook: `[codes, dim]`
/// - output: `[n]`
pub fn nearest_code(latents: Tensor<2>, codebook: Tensor<2>) -> Tensor<1, Int> {
    let ([n, dim], device) = (latents.dims(), latents.device());
    let (latents, codes) = (values(latents), Codes::of(codebook));
    let mut nearest = vec![0i32; n];
    let blocks = nearest.par_chunks_mut(ROWS).zip(latents.par_chunks(ROWS * dim));
    blocks.for_each(|(nearest, latents)| codes.nearest(latents, nearest));
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
    let codes: Vec<usize> = codes.iter::<i64>().map(|code| code as usize).collect();
    let (mut counts, mut sums) = (vec![0.0f32; n_codes], vec![0.0f32; n_codes * dim]);
    // Each task takes a range of the codes and adds up their latents in order, whatever the number of tasks.
    let at_once = n_codes.div_ceil(rayon::current_num_threads()).max(1);
    let parts = counts.par_chunks_mut(at_once).zip(sums.par_chunks_mut(at_once * dim));
    parts.enumerate().for_each(|(part, (counts, sums))| {
        let first = part * at_once;
        for (row, code) in latents.chunks_exact(dim).zip(&codes) {
            let Some(count) = code.checked_sub(first).and_then(|code| counts.get_mut(code)) else {
                continue;
            };
            *count += 1.0;
            let sums = &mut sums[(code - first) * dim..][..dim];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    });
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

vectorised! {
    /// The index where `products - halves` is largest, and so the distance smallest, if it is above `best`; the first of
    /// several.
    fn nearer(halves: &[f32], products: &[f32], best: &mut f32) -> Option<usize> {
        let most = largest_difference(products, halves);
        if most > *best {
            *best = most;
            return place_of_difference(products, halves, most);
        }
        None
    }
}
