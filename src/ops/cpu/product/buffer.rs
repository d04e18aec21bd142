//! Memory for packed operands that a thread keeps from one product to the next.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// What is beyond that: buffers that one thread fills and another drops.
static SPARE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Buffers that are spare at most.
const MOST_SPARE: usize = 64;

/// Values of whatever content; 32 bits each, which also hold a pair of bf16.
#[derive(Debug)]
pub(super) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let needed = len.div_ceil(LINE);
        let kept = KEPT.with_borrow_mut(|kept| take(kept, needed));
        let fitting = kept.or_else(|| take(&mut spare(), needed));
        let lines = fitting.unwrap_or_else(|| vec![Line([0.0; LINE]); needed]);
        Self { lines, len }
    }
}

/// One of some buffers that has as many lines.
fn take(buffers: &mut Vec<Vec<Line>>, lines: usize) -> Option<Vec<Line>> {
    let index = buffers.iter().rposition(|buffer| buffer.len() >= lines)?;
    Some(buffers.swap_remove(index))
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
        let mut lines = std::mem::take(&mut self.lines);
        // A thread that ends has no store any more.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            kept.push(std::mem::take(&mut lines));
            if kept.len() > MOST_KEPT {
                lines = kept.swap_remove(0);
            }
        });
        if !lines.is_empty() {
            let mut spare = spare();
            if spare.len() < MOST_SPARE {
                spare.push(lines);
            }
        }
    }
}
