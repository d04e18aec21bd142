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
    let mut buffer = Vec::with_capacity(len);
    let blocks = buffer.spare_capacity_mut()[..len].par_chunks_mut(block_len.max(1));
    blocks.enumerate().for_each(|(index, block)| work(index, zeroed(block)));
    // SAFETY: the blocks cover the first `len` values, and `zeroed` has set every value of each.
    #[allow(unsafe_code)]
    unsafe {
        buffer.set_len(len);
    }
    buffer
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
