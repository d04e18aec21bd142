//! New buffers that are initialised block by block, in parallel.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::elementwise::BLOCK;

/// A buffer of `len` values in blocks of `block_len`, each written by `work`, which gets the block's index and its
/// values, initially 0.
///
/// `vec![0.0; len]` would zero it in a separate pass on one thread; here a block is still in the cache when `work` gets
/// it.
pub(super) fn in_blocks(
    len: usize,
    block_len: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    set_in_blocks(len, block_len, |index, block| {
        let block = zeroed(block);
        work(index, block);
        block
    })
}

/// As [`in_blocks`], also collecting what `work` returns for each block, in order.
pub(super) fn in_blocks_with<R: Send>(
    len: usize,
    block_len: usize,
    work: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    set_in_blocks_with(len, block_len, |index, block| {
        let block = zeroed(block);
        let result = work(index, block);
        (block, result)
    })
}

/// A buffer of `len` values in blocks of `block_len`, each written by `work` without being zeroed first. `work` proves
/// that it has initialised its block by returning it as `f32`.
pub(super) fn set_in_blocks(
    len: usize,
    block_len: usize,
    work: impl for<'a> Fn(usize, &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] + Sync,
) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(len);
    let blocks = buffer.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
    blocks.enumerate().for_each(|(index, block)| set(block, |block| work(index, block)));
    // SAFETY: the blocks cover the first `len` values, and each was returned initialised.
    #[allow(unsafe_code)]
    unsafe {
        buffer.set_len(len);
    }
    buffer
}

/// As [`set_in_blocks`], also collecting what else `work` returns for each block, in order.
pub(super) fn set_in_blocks_with<R: Send>(
    len: usize,
    block_len: usize,
    work: impl for<'a> Fn(usize, &'a mut [MaybeUninit<f32>]) -> (&'a mut [f32], R) + Sync,
) -> (Vec<f32>, Vec<R>) {
    let mut results: Vec<Mutex<Option<R>>> = Vec::new();
    results.resize_with(len.div_ceil(block_len.max(1)), Mutex::default);
    let buffer = set_in_blocks(len, block_len, |index, block| {
        let (block, result) = work(index, block);
        *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        block
    });
    let taken = |one: Mutex<Option<R>>| one.into_inner().unwrap_or_else(PoisonError::into_inner);
    (buffer, results.into_iter().filter_map(taken).collect())
}

/// As [`set_in_blocks`], for two buffers of the same length at once.
pub(super) fn set_pair_in_blocks(
    len: usize,
    block_len: usize,
    work: impl for<'a, 'b> Fn(
        usize,
        &'a mut [MaybeUninit<f32>],
        &'b mut [MaybeUninit<f32>],
    ) -> (&'a mut [f32], &'b mut [f32])
    + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let mut second = Vec::with_capacity(len);
    let places = second.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
    // A block of the second buffer is taken by the thread that takes the same block of the first.
    let places: Vec<Mutex<&mut [MaybeUninit<f32>]>> = places.map(Mutex::new).collect();
    let first = set_in_blocks(len, block_len, |index, first| {
        let mut second = places[index].lock().unwrap_or_else(PoisonError::into_inner);
        let place = second.as_ptr_range();
        let (first, second) = work(index, first, &mut second);
        assert_is(place, second);
        first
    });
    drop(places);
    // SAFETY: every block of the first buffer was initialised, and with it the same one of the second.
    #[allow(unsafe_code)]
    unsafe {
        second.set_len(len);
    }
    (first, second)
}

/// Calls `work` to initialise a block, and checks that it returns this very block.
fn set(
    block: &mut [MaybeUninit<f32>],
    work: impl for<'a> FnOnce(&'a mut [MaybeUninit<f32>]) -> &'a mut [f32],
) {
    let place = block.as_ptr_range();
    assert_is(place, work(block));
}

fn assert_is(place: Range<*const MaybeUninit<f32>>, values: &[f32]) {
    let values = values.as_ptr_range();
    assert_eq!((place.start.cast(), place.end.cast()), (values.start, values.end), "the block");
}

/// A block that is initialised piece by piece, from its start.
pub(super) struct Pieces<'a> {
    block: &'a mut [MaybeUninit<f32>],
    /// How many leading values are initialised.
    done: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(block: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { block, done: 0 }
    }

    /// Initialises the next `len` values.
    pub(super) fn set_next(
        &mut self,
        len: usize,
        work: impl for<'b> FnOnce(&'b mut [MaybeUninit<f32>]) -> &'b mut [f32],
    ) {
        set(&mut self.block[self.done..self.done + len], work);
        self.done += len;
    }

    /// Initialises the next `len` values by `work`, `at_once` at a time: it gets their range and the values themselves,
    /// zeroed and still in the L1 cache.
    pub(super) fn set_few(
        &mut self,
        len: usize,
        at_once: usize,
        mut work: impl FnMut(Range<usize>, &mut [f32]),
    ) {
        for first in (0..len).step_by(at_once) {
            let range = first..len.min(first + at_once);
            self.set_next(range.len(), |to| {
                let to = zeroed(to);
                work(range, to);
                to
            });
        }
    }

    /// The block, initialised.
    pub(super) fn finish(self) -> &'a mut [f32] {
        assert_eq!(self.done, self.block.len(), "values set");
        // SAFETY: `set_next` has initialised every value.
        #[allow(unsafe_code)]
        unsafe {
            self.block.assume_init_mut()
        }
    }
}

/// A copy of `values`, made in parallel.
pub(super) fn copied(values: &[f32]) -> Vec<f32> {
    set_in_blocks(values.len(), BLOCK, |index, block| {
        let from = &values[index * BLOCK..][..block.len()];
        block.write_copy_of_slice(from)
    })
}

/// Maps `values` in place and initialises `block`, both with what `of` returns for each value: its new value and the
/// one for `block`.
#[inline(always)]
pub(super) fn set_from<'a>(
    block: &'a mut [MaybeUninit<f32>],
    values: &mut [f32],
    of: impl Fn(f32) -> (f32, f32),
) -> &'a mut [f32] {
    assert_eq!(block.len(), values.len(), "values of a block");
    for (value, place) in values.iter_mut().zip(block.iter_mut()) {
        let (new, other) = of(*value);
        *value = new;
        place.write(other);
    }
    // SAFETY: the loop has initialised every value, by the assert.
    #[allow(unsafe_code)]
    unsafe {
        block.assume_init_mut()
    }
}

fn zeroed(block: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    block.fill(MaybeUninit::new(0.0));
    // SAFETY: the line before has initialised every value.
    #[allow(unsafe_code)]
    unsafe {
        block.assume_init_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_set_and_what_the_work_leaves_is_zero() {
        let values = in_blocks(10, 4, |index, block| block[0] = index as f32 + 1.0);
        assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
        assert!(in_blocks(0, 4, |_, _| ()).is_empty());
        let (first, second) = set_pair_in_blocks(5, 2, |index, first, second| {
            let (first, second) = (zeroed(first), zeroed(second));
            second[0] = index as f32;
            first.fill(7.0);
            (first, second)
        });
        assert_eq!((first, second), (vec![7.0; 5], vec![0.0, 0.0, 1.0, 0.0, 2.0]));
    }
}
