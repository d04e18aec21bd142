//! Memory for packed operands that a thread keeps from one product to the next.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A line of the cache: tiles and vectors that cross none are read at twice the speed.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread keeps at most.
const MOST_KEPT: usize = 4;

/// Values of whatever content; 32 bits each, which also hold a pair of bf16.
#[derive(Debug)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let mut lines = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        if lines.len() * LINE < len {
            lines.clear();
            lines.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        }
        Self { lines, len }
    }
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
        // A thread that ends has no store any more.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(lines);
            }
        });
    }
}
