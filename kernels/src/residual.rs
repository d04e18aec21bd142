//! Residual quantization of all levels in one pass over the latents.

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::decode::values;
use super::math::sum;
use super::nearest::{Codes, ROWS};
use super::wide::{vectorised, wide};

/// What residual quantization makes of latents.
#[derive(Debug, Clone)]
pub struct ResidualCodes {
    /// Of each level the latents that it quantizes, which are what those before it leave over, `[n, dim]`, and their
    /// codes, `[n]`.
    pub levels: Vec<(Tensor<2>, Tensor<1, Int>)>,
    /// The sum of the chosen vectors, `[n, dim]`.
    pub vectors: Tensor<2>,
    /// The sum over the levels of what each leaves over, `[n, dim]`.
    pub left_over: Tensor<2>,
    /// The mean of the squares of what each level leaves over, over all levels, `[1]`.
    pub error: Tensor<1>,
}

/// Quantizes `latents` by the nearest vector of each codebook in turn, without autodiff.
///
/// # Shapes
/// - `latents`: `[n, dim]`
/// - `codebooks`: `[codes, dim]` each
pub fn residual_codes(latents: Tensor<2>, codebooks: Vec<Tensor<2>>) -> ResidualCodes {
    let ([n, dim], device, depth) = (latents.dims(), latents.device(), codebooks.len());
    let books: Vec<Codes> = codebooks.into_iter().map(Codes::of).collect();
    let rows = values(latents.clone());
    let zeros = || vec![0.0f32; n * dim];
    let mut residuals: Vec<Vec<f32>> = (0..depth).map(|_| zeros()).collect();
    let mut codes: Vec<Vec<i32>> = (0..depth).map(|_| vec![0; n]).collect();
    let (mut vectors, mut left_over) = (zeros(), zeros());

    let mut places: Vec<Block> = (vectors.chunks_mut(ROWS * dim))
        .zip(left_over.chunks_mut(ROWS * dim))
        .map(|(vectors, left_over)| Block { vectors, left_over, levels: Vec::new() })
        .collect();
    for (residuals, codes) in residuals.iter_mut().zip(&mut codes) {
        let parts = residuals.chunks_mut(ROWS * dim).zip(codes.chunks_mut(ROWS));
        for (place, level) in places.iter_mut().zip(parts) {
            place.levels.push(level);
        }
    }
    let blocks = places.into_par_iter().zip(rows.par_chunks(ROWS * dim));
    let errors: Vec<f32> = blocks.map(|(block, rows)| block.quantize(rows, &books, dim)).collect();
    // In order, so that the result does not depend on threads.
    let error: f64 = errors.into_iter().map(f64::from).sum();

    let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [n, dim]), &device);
    // The first level quantizes the latents themselves; what the last leaves over is in the sum alone.
    let after = residuals.into_iter().take(depth.saturating_sub(1)).map(tensor);
    let compared = std::iter::once(latents).chain(after);
    let codes = codes
        .into_iter()
        .map(|codes| Tensor::<1, Int>::from_data(TensorData::new(codes, [n]), &device));
    let mean = (error / (depth * n * dim) as f64) as f32;
    ResidualCodes {
        levels: compared.zip(codes).collect(),
        vectors: tensor(vectors),
        left_over: tensor(left_over),
        error: Tensor::from_data([mean], &device),
    }
}

/// Where the results for some latents go.
struct Block<'a> {
    vectors: &'a mut [f32],
    left_over: &'a mut [f32],
    /// What each level leaves over, and its codes.
    levels: Vec<(&'a mut [f32], &'a mut [i32])>,
}

impl Block<'_> {
    /// Quantizes `latents`, and returns the sum of the squares of what each level leaves over.
    fn quantize(self, latents: &[f32], books: &[Codes], dim: usize) -> f32 {
        let Self { vectors, left_over, levels } = self;
        let mut before: &[f32] = latents;
        let mut error = 0.0;
        for (book, (after, codes)) in books.iter().zip(levels) {
            book.nearest(before, codes);
            for (row, code) in codes.iter().enumerate() {
                let part = row * dim..(row + 1) * dim;
                let vector = book.vector(*code as usize);
                let (after, before) = (&mut after[part.clone()], &before[part.clone()]);
                let (sum, left_over) = (&mut vectors[part.clone()], &mut left_over[part]);
                wide!(for (index, &e) in vector.iter().enumerate() {
                    after[index] = before[index] - e;
                    sum[index] += e;
                    left_over[index] += after[index];
                });
            }
            error += squares(after);
            before = after;
        }
        error
    }
}

vectorised! {
    fn squares(values: &[f32]) -> f32 {
        sum(values, |x| x * x)
    }
}
