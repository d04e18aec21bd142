//! Elementwise maps over tensors of one shape, in place where the first one's buffer is not shared.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::fresh::in_blocks;
use super::slices::{Values, tensor};
use super::wide::wide;

/// Values of a task: 64 kB, which stay in a core's cache.
pub(super) const BLOCK: usize = 1 << 14;

/// `function` of each value.
pub(super) fn map(mut x: Values, function: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    if let Some(values) = x.slice_mut() {
        values.par_chunks_mut(BLOCK).for_each(|block| {
            wide!(block.iter_mut().for_each(|value| *value = function(*value)));
        });
        return x.into_tensor();
    }
    let values = x.slice();
    let out = in_blocks(values.len(), BLOCK, |index, out| {
        let block = &values[index * BLOCK..][..out.len()];
        wide!(out.iter_mut().zip(block).for_each(|(out, &value)| *out = function(value)));
    });
    tensor(out, x.shape())
}

/// `function` of each value of `x` and the corresponding value of `y`.
pub(super) fn map_with(
    mut x: Values,
    y: &Values,
    function: impl Fn(f32, f32) -> f32 + Sync,
) -> FlexTensor {
    let y = y.slice();
    assert_eq!(x.slice().len(), y.len(), "values of two tensors of one shape");
    if let Some(values) = x.slice_mut() {
        values.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| {
            wide!(x.iter_mut().zip(y).for_each(|(x, &y)| *x = function(*x, y)));
        });
        return x.into_tensor();
    }
    let values = x.slice();
    let out = in_blocks(values.len(), BLOCK, |index, out| {
        let from = index * BLOCK;
        let (x, y) = (&values[from..][..out.len()], &y[from..][..out.len()]);
        wide!({
            let operands = x.iter().zip(y);
            out.iter_mut().zip(operands).for_each(|(out, (&x, &y))| *out = function(x, y));
        });
    });
    tensor(out, x.shape())
}

/// `function` of the index and the value of each element.
pub(super) fn map_places(mut x: Values, function: impl Fn(usize, f32) -> f32 + Sync) -> FlexTensor {
    if let Some(values) = x.slice_mut() {
        values.par_chunks_mut(BLOCK).enumerate().for_each(|(index, block)| {
            let from = index * BLOCK;
            let places = block.iter_mut().enumerate();
            wide!(places.for_each(|(place, value)| *value = function(from + place, *value)));
        });
        return x.into_tensor();
    }
    let values = x.slice();
    let out = in_blocks(values.len(), BLOCK, |index, out| {
        let from = index * BLOCK;
        let places = out.iter_mut().zip(&values[from..]).enumerate();
        wide!(places.for_each(|(place, (out, &value))| *out = function(from + place, value)));
    });
    tensor(out, x.shape())
}
