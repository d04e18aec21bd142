//! Prefetch for kernels that read a few values of each of many rows in turn: the hardware prefetcher follows a
//! sequential stream, at two to four times the rate of that pattern where the values are not in a cache (see
//! `docs/performance.md` of vqgen).

/// f32 values of a cache line.
const LINE: usize = 16;

/// Touches every cache line, first to last.
#[inline]
pub(super) fn fetch(values: &[f32]) {
    let bits = values.chunks(LINE).fold(0, |bits, line| bits ^ line[0].to_bits());
    std::hint::black_box(bits);
}
