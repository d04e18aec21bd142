//! New buffers that are written block by block, by all threads.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::elementwise::BLOCK;

/// A buffer of `len` values, each block of `block_len` of them set by `work`, which gets the number of the block
/// and its values, all 0.
///
/// `vec![0.0; len]` would write the zeros in a pass of its own, on one thread; here a block is still in the cache
/// when `work` gets it.
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

/// The same with what `work` returns for each block, in order.
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

/// A buffer of `len` values, each block of `block_len` of them set by `work` without being zeroed first. `work`
/// proves that it has set its block by handing it back as values.
pub(super) fn set_in_blocks(
    len: usize,
    block_len: usize,
    work: impl for<'a> Fn(usize, &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] + Sync,
) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(len);
    let blocks = buffer.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
    blocks.enumerate().for_each(|(index, block)| set(block, |block| work(index, block)));
    // SAFETY: the blocks cover the first `len` values, and each came back as values.
    #[allow(unsafe_code)]
    unsafe {
        buffer.set_len(len);
    }
    buffer
}

/// The same with what else `work` returns for each block, in order.
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

/// Two buffers of the same length at once, as [`set_in_blocks`] has one.
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
    // Blocks of the second buffer wait for the thread that takes the same block of the first.
    let places: Vec<Mutex<&mut [MaybeUninit<f32>]>> = places.map(Mutex::new).collect();
    let first = set_in_blocks(len, block_len, |index, first| {
        let mut second = places[index].lock().unwrap_or_else(PoisonError::into_inner);
        let place = second.as_ptr_range();
        let (first, second) = work(index, first, &mut second);
        assert_is(place, second);
        first
    });
    drop(places);
    // SAFETY: every block of the first buffer was set, and with it the same one of the second.
    #[allow(unsafe_code)]
    unsafe {
        second.set_len(len);
    }
    (first, second)
}

/// Lets `work` set a block, and checks that it is this block that comes back.
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

/// A block that is set piece by piece.
pub(super) struct Pieces<'a> {
    block: &'a mut [MaybeUninit<f32>],
    /// How many values from the first on are set.
    done: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(block: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { block, done: 0 }
    }

    /// Sets the next `len` values.
    pub(super) fn set_next(
        &mut self,
        len: usize,
        work: impl for<'b> FnOnce(&'b mut [MaybeUninit<f32>]) -> &'b mut [f32],
    ) {
        set(&mut self.block[self.done..self.done + len], work);
        self.done += len;
    }

    /// Sets the next `len` values by `work`, which gets `at_once` of them at a time, and which they are. They are 0, and
    /// still in the first-level cache when `work` writes over them.
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

    /// The block as values.
    pub(super) fn finish(self) -> &'a mut [f32] {
        assert_eq!(self.done, self.block.len(), "values set");
        // SAFETY: `set_next` has seen every value set.
        #[allow(unsafe_code)]
        unsafe {
            self.block.assume_init_mut()
        }
    }
}

/// A copy of `values`, by all threads.
pub(super) fn copied(values: &[f32]) -> Vec<f32> {
    set_in_blocks(values.len(), BLOCK, |index, block| {
        let from = &values[index * BLOCK..][..block.len()];
        block.write_copy_of_slice(from)
    })
}

/// Sets each value of `block` and of `values` to what `of` gives for the latter: the new value and what belongs into
/// `block`.
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
    // SAFETY: the loop has set every value, by the assert.
    #[allow(unsafe_code)]
    unsafe {
        block.assume_init_mut()
    }
}

fn zeroed(block: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    block.fill(MaybeUninit::new(0.0));
    // SAFETY: the line before has set every value.
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
