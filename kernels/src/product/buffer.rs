//! Buffers for packing operands, reused from one GEMM to the next.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cache line: tiles and vectors that do not straddle two are read at twice the speed.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread keeps at most.
const MOST_KEPT: usize = 4;

/// Buffers beyond that, shared by all threads: some are filled on one and dropped on another.
static SPARE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Shared buffers at most: both operands of 32 parts of the rows of a linear layer.
const MOST_SPARE: usize = 64;

/// Values of unspecified content; 32 bits each, which also hold a pair of bf16.
#[derive(Debug)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(len: usize) -> Self {
        let needed = len.div_ceil(LINE);
        let kept = KEPT.with_borrow_mut(|kept| take(kept, needed));
        let fitting = kept.or_else(|| take(&mut spare(), needed));
        let lines = fitting.unwrap_or_else(|| vec![Line([0.0; LINE]); needed]);
        Self { lines, len }
    }
}

/// The smallest buffer with at least this many lines: larger ones are left for larger requests.
fn take(buffers: &mut Vec<Vec<Line>>, lines: usize) -> Option<Vec<Line>> {
    let fitting = buffers.iter().enumerate().filter(|(_, buffer)| buffer.len() >= lines);
    let (index, _) = fitting.min_by_key(|(_, buffer)| buffer.len())?;
    Some(buffers.swap_remove(index))
}

/// Adds a buffer; where that makes more than `most`, removes the smallest and returns it.
fn keep(buffers: &mut Vec<Vec<Line>>, lines: Vec<Line>, most: usize) -> Option<Vec<Line>> {
    buffers.push(lines);
    if buffers.len() <= most {
        return None;
    }
    let (least, _) = buffers.iter().enumerate().min_by_key(|(_, buffer)| buffer.len())?;
    Some(buffers.swap_remove(least))
}

fn spare() -> MutexGuard<'static, Vec<Vec<Line>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines are values without gaps, and at least `len` of them.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len)
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // A thread that is ending has no store any more.
        let left = KEPT.try_with(|kept| keep(&mut kept.borrow_mut(), lines, MOST_KEPT));
        if let Ok(Some(lines)) = left {
            keep(&mut spare(), lines, MOST_SPARE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: usize) -> Vec<Line> {
        vec![Line([0.0; LINE]); n]
    }

    fn lens(buffers: &[Vec<Line>]) -> Vec<usize> {
        buffers.iter().map(Vec::len).collect()
    }

    #[test]
    fn the_least_buffer_that_fits_is_taken_and_the_least_of_too_many_is_let_go() {
        let mut buffers = [8, 2, 4].map(lines).to_vec();
        assert_eq!(take(&mut buffers, 3).map(|taken| taken.len()), Some(4));
        assert!(take(&mut buffers, 9).is_none());
        assert!(keep(&mut buffers, lines(5), 3).is_none());
        assert_eq!(keep(&mut buffers, lines(6), 3).map(|least| least.len()), Some(2));
        assert_eq!(lens(&buffers), [8, 6, 5]);
    }
}
