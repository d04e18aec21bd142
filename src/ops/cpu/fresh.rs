//! New buffers that are written block by block, by all threads.

use std::mem::MaybeUninit;

use rayon::prelude::*;

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
    in_blocks_with(len, block_len, work).0
}

/// The same with what `work` returns for each block, in order.
pub(super) fn in_blocks_with<R: Send>(
    len: usize,
    block_len: usize,
    work: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let mut buffer = Vec::with_capacity(len);
    let blocks = buffer.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
    let results = blocks.enumerate().map(|(index, block)| work(index, zeroed(block))).collect();
    // SAFETY: the blocks cover the first `len` values, and `zeroed` has set every value of each.
    #[allow(unsafe_code)]
    unsafe {
        buffer.set_len(len);
    }
    (buffer, results)
}

/// Two buffers of the same length at once.
pub(super) fn pair_in_blocks(
    len: usize,
    block_len: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let mut first = Vec::with_capacity(len);
    let second = {
        let blocks = first.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
        let mut second = Vec::with_capacity(len);
        let seconds = second.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
        blocks.zip(seconds).enumerate().for_each(|(index, (first, second))| {
            work(index, zeroed(first), zeroed(second));
        });
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            second.set_len(len);
        }
        second
    };
    // SAFETY: as above; both buffers are split alike.
    #[allow(unsafe_code)]
    unsafe {
        first.set_len(len);
    }
    (first, second)
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
    }
}
