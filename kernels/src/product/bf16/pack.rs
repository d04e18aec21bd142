//! Packs operands in the layouts of the parent module, rounded to bf16.
//!
//! A row is read from end to end before the next one: the hardware prefetcher follows a sequential stream, at two to
//! four times the rate of reading a few values of many rows in turn where they are not in a cache (see
//! `docs/performance.md`).

use std::arch::x86_64::*;

use super::{LANES, PAIRS, STEP, TILE_ROWS, row_block_len, steps};
use crate::product::PANEL;
use crate::product::buffer::Buffer;
use crate::product::matrix::Matrix;
use crate::product::transpose::{load, store, transpose};

/// 32-bit values in a step of a panel.
const PANEL_STEP: usize = PAIRS * PANEL;

/// 32-bit values in a tile.
const TILE: usize = TILE_ROWS * PAIRS;

/// Packs blocks of [`TILE_ROWS`] rows from row `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pack_rows(left: &Matrix, first: usize, blocks: &mut [f32]) {
    let block_len = row_block_len(left.columns());
    if left.strides().1 == 1 {
        for (index, block) in blocks.chunks_exact_mut(block_len).enumerate() {
            round_runs(left, first + index * TILE_ROWS, block);
        }
        return;
    }
    const BLOCKS: usize = PANEL / TILE_ROWS; // in a panel
    let n_panels = (blocks.len() / block_len).div_ceil(BLOCKS);
    let mut panels = Buffer::new(n_panels * PANEL_STEP);
    let mut above = Buffer::new(n_panels * LANES);
    for step in 0..steps(left.columns()) {
        pair_rows(&left.transposed(), step, first, &mut above, &mut panels, PANEL_STEP);
        for (index, block) in blocks.chunks_exact_mut(block_len).enumerate() {
            let lines = &panels[index / BLOCKS * PANEL_STEP + index % BLOCKS * TILE_ROWS..];
            transpose(lines, PANEL, &mut block[step * TILE..], PAIRS);
        }
    }
}

/// Packs `right` into the rows from `row` on, a multiple of [`STEP`], of panels; the first panel holds its columns from
/// `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) fn pack_panels(
    right: &Matrix,
    first: usize,
    row: usize,
    panels: &mut [f32],
    panel_len: usize,
) {
    let from = row / STEP * PANEL_STEP;
    if right.strides().1 == 1 {
        let mut above = Buffer::new(panels.len() / panel_len * LANES);
        for step in 0..steps(right.rows()) {
            let panels = &mut panels[from + step * PANEL_STEP..];
            pair_rows(right, step, first, &mut above, panels, panel_len);
        }
        return;
    }
    let mut block = Buffer::new(row_block_len(right.rows()));
    for (index, panel) in panels.chunks_exact_mut(panel_len).enumerate() {
        for half in [0, LANES] {
            round_runs(&right.transposed(), first + index * PANEL + half, &mut block);
            for (step, tile) in block.chunks_exact(TILE).enumerate() {
                transpose(tile, PAIRS, &mut panel[from + step * PANEL_STEP + half..], PANEL);
            }
        }
    }
}

/// Packs [`TILE_ROWS`] contiguous rows from row `first` on: a block of a left operand.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round_runs(matrix: &Matrix, first: usize, block: &mut [f32]) {
    for line in 0..TILE_ROWS {
        for (step, tile) in block.chunks_exact_mut(TILE).enumerate() {
            let values = rounded(matrix, first + line, step * STEP);
            store(values, &mut tile[line * PAIRS..]);
        }
    }
}

/// Packs [`STEP`] contiguous rows as one step of the panels of the columns from `first` on, which are `panel_len`
/// apart. `above` has room for a row.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pair_rows(
    matrix: &Matrix,
    step: usize,
    first: usize,
    above: &mut [f32],
    panels: &mut [f32],
    panel_len: usize,
) {
    for pair in 0..PAIRS {
        let row = step * STEP + 2 * pair;
        for (index, above) in above.chunks_exact_mut(LANES).enumerate() {
            store(rounded(matrix, row, first + index * PANEL), above);
        }
        for (index, above) in above.chunks_exact(LANES).enumerate() {
            let values = rounded(matrix, row + 1, first + index * PANEL);
            let [low, high] = paired(load(above), values);
            let to = &mut panels[index * panel_len + pair * PANEL..][..PANEL];
            store(low, to);
            store(high, &mut to[LANES..]);
        }
    }
}

/// The 32 values of a contiguous row from a column on; zeros beyond the last row and column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(unsafe_code)]
fn rounded(matrix: &Matrix, row: usize, column: usize) -> __m512i {
    let ends = row >= matrix.rows();
    let count = if ends { 0 } else { matrix.columns().saturating_sub(column).min(STEP) };
    let mask = (1u64 << count) - 1;
    let (row_stride, column_stride) = matrix.strides();
    assert_eq!(column_stride, 1, "contiguous rows");
    let from = matrix.as_ptr().wrapping_add(row * row_stride + column);
    // SAFETY: the masks exclude what lies outside the matrix.
    let (low, high) = unsafe {
        (
            _mm512_maskz_loadu_ps(mask as u16, from),
            _mm512_maskz_loadu_ps((mask >> LANES) as u16, from.wrapping_add(LANES)),
        )
    };
    bits(_mm512_cvtne2ps_pbh(high, low))
}

/// The 32 values of two rows of bf16, interleaved by column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn paired(above: __m512i, below: __m512i) -> [__m512i; 2] {
    // Indices 0 to 31 are of the row above, 32 to 63 of the one below.
    let low = _mm512_set_epi16(
        47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
        35, 3, 34, 2, 33, 1, 32, 0,
    );
    let high = _mm512_add_epi16(low, _mm512_set1_epi16(LANES as i16));
    [low, high].map(|order| _mm512_permutex2var_epi16(above, order, below))
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn bits(values: __m512bh) -> __m512i {
    // SAFETY: both are 512 bits, and any bit pattern is valid.
    unsafe { std::mem::transmute(values) }
}
