//! Values brought to the cache ahead of a work that reads a few of many rows in turn: the processor foresees one run of
//! memory, and reads it from beyond its caches at two to four times the rate (see `docs/performance.md` of vqgen).

/// Values of f32 in a line of the cache.
const LINE: usize = 16;

/// Reads one of every 16 values, first to last.
#[inline]
pub(super) fn fetch(values: &[f32]) {
    let bits = values.chunks(LINE).fold(0, |bits, line| bits ^ line[0].to_bits());
    std::hint::black_box(bits);
}
