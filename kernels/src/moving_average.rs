//! The moving averages of a codebook and the vectors that they imply, in one pass.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::decode::values;
use super::elementwise::BLOCK;
use super::wide::wide;

/// The factors of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AverageStep {
    /// Of the averages so far.
    pub kept: f64,
    /// Of the batch.
    pub added: f64,
    /// Of an average to correct its bias.
    pub correction: f64,
}

/// The sums of latents by code and the code vectors.
#[derive(Debug, Clone)]
pub struct Averages {
    /// Moving average of the sums, `[codes, dim]`.
    pub sums: Tensor<2>,
    /// `[codes, dim]`.
    pub vectors: Tensor<2>,
}

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
    let ([codes, dim], device) = (batch.dims(), batch.device());
    let (mut sums, mut vectors) = (values(averages.sums), values(averages.vectors));
    let (batch, counts, smoothed) = (values(batch), values(counts), values(smoothed));
    let [kept, added, correction] = [step.kept, step.added, step.correction].map(|x| x as f32);
    let rows = (BLOCK / dim.max(1)).max(1);
    let blocks = sums.par_chunks_mut(rows * dim).zip(vectors.par_chunks_mut(rows * dim));
    let batches = batch.par_chunks(rows * dim);
    let counts = counts.par_chunks(rows).zip(smoothed.par_chunks(rows));
    blocks.zip(batches).zip(counts).for_each(|(((sums, vectors), batch), (counts, smoothed))| {
        wide!({
            let rows = sums.chunks_exact_mut(dim).zip(vectors.chunks_exact_mut(dim));
            let rows = rows.zip(batch.chunks_exact(dim)).zip(counts.iter().zip(smoothed));
            for (((sums, vectors), batch), (&count, &smoothed)) in rows {
                for (sum, new) in sums.iter_mut().zip(batch) {
                    *sum = *sum * kept + new * added;
                }
                if count != 0.0 {
                    for (vector, sum) in vectors.iter_mut().zip(sums) {
                        *vector = *sum * correction / smoothed;
                    }
                }
            }
        });
    });
    let tensor = |values| Tensor::from_data(TensorData::new(values, [codes, dim]), &device);
    Averages { sums: tensor(sums), vectors: tensor(vectors) }
}
