//! Sums of buffers of equal length.

use rayon::prelude::*;

use super::elementwise::BLOCK;
use super::wide::wide;

/// The sum of `parts` of `len` values, added in order.
pub(super) fn sum_of(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let Some(mut sum) = parts.next() else { return vec![0.0; len] };
    let rest: Vec<_> = parts.collect();
    sum.par_chunks_mut(BLOCK).enumerate().for_each(|(index, block)| {
        let from = index * BLOCK;
        rest.iter().for_each(|part| add(block, &part[from..from + block.len()]));
    });
    sum
}

/// Adds `values` to `sums`.
pub(super) fn add(sums: &mut [f32], values: &[f32]) {
    wide!(sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value));
}
