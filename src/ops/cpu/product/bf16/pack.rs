//! Operands rounded to bf16 and laid out as the parent module says, 16 lines of 16 pairs at a time.

use std::arch::x86_64::*;

use super::{LANES, PAIRS, STEP, TILE_ROWS, panel_len, row_block_len, steps};
use crate::ops::cpu::product::PANEL;
use crate::ops::cpu::product::matrix::Matrix;

/// Writes blocks of [`TILE_ROWS`] rows from row `first` on.
///
/// # Safety
/// The processor has the instructions of `Instructions::Avx512Bf16`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
pub(in super::super) unsafe fn pack_rows(left: &Matrix, first: usize, blocks: &mut [f32]) {
    let (row_stride, column_stride) = left.strides();
    let block_len = row_block_len(left.columns());
    // Blocks innermost: where columns are runs of memory, they are read as such.
    for step in 0..steps(left.columns()) {
        let at = step * STEP;
        let depth = STEP.min(left.columns() - at);
        for (index, block) in blocks.chunks_exact_mut(block_len).enumerate() {
            let row = first + index * TILE_ROWS;
            let rows = TILE_ROWS.min(left.rows() - row);
            let from = left.from(row, at).as_ptr();
            let mut lines = [_mm512_setzero_si512(); TILE_ROWS];
            // SAFETY: the masks and counts keep every read inside `left`: `rows` rows of `depth` values.
            unsafe {
                if column_stride == 1 {
                    for (row, line) in lines.iter_mut().enumerate().take(rows) {
                        *line = rounded_run(from.add(row * row_stride), depth);
                    }
                } else {
                    for (pair, line) in lines.iter_mut().enumerate().take(depth.div_ceil(2)) {
                        let from = from.add(2 * pair * column_stride);
                        *line = rounded_pair(from, column_stride, rows, 2 * pair + 1 < depth);
                    }
                    lines = transposed(lines);
                }
            }
            store(&lines, &mut block[step * TILE_ROWS * PAIRS..], PAIRS);
        }
    }
}

/// Writes the panels of the columns from `first` on.
///
/// # Safety
/// As [`pack_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
pub(in super::super) unsafe fn pack_panels(right: &Matrix, first: usize, panels: &mut [f32]) {
    let (row_stride, column_stride) = right.strides();
    let panel_len = panel_len(right.rows());
    let halves = (0..panels.len() / panel_len).flat_map(|panel| [(panel, 0), (panel, LANES)]);
    // Panels innermost: where rows are runs of memory, they are read as such.
    for step in 0..steps(right.rows()) {
        let at = step * STEP;
        let depth = STEP.min(right.rows() - at);
        for (panel, half) in halves.clone() {
            let column = first + panel * PANEL + half;
            let mut lines = [_mm512_setzero_si512(); PAIRS];
            let columns = right.columns().saturating_sub(column).min(LANES);
            if columns > 0 {
                let from = right.from(at, column).as_ptr();
                // SAFETY: the masks and counts keep every read inside `right`: `depth` rows of `columns` values.
                unsafe {
                    if column_stride == 1 {
                        for (pair, line) in lines.iter_mut().enumerate().take(depth.div_ceil(2)) {
                            let from = from.add(2 * pair * row_stride);
                            *line = rounded_pair(from, row_stride, columns, 2 * pair + 1 < depth);
                        }
                    } else {
                        for (column, line) in lines.iter_mut().enumerate().take(columns) {
                            *line = rounded_run(from.add(column * column_stride), depth);
                        }
                        lines = transposed(lines);
                    }
                }
            }
            let to = panel * panel_len + step * PAIRS * PANEL + half;
            store(&lines, &mut panels[to..], PANEL);
        }
    }
}

/// Up to 32 neighbours from `from` on, as pairs of bf16; zeros beyond.
///
/// # Safety
/// `count` values are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn rounded_run(from: *const f32, count: usize) -> __m512i {
    let mask = (1u64 << count) - 1;
    // SAFETY: the mask leaves out what is beyond `count`.
    let (low, high) = unsafe {
        (
            _mm512_maskz_loadu_ps(mask as u16, from),
            _mm512_maskz_loadu_ps((mask >> LANES) as u16, from.wrapping_add(LANES)),
        )
    };
    bits(_mm512_cvtne2ps_pbh(high, low))
}

/// Up to 16 neighbours from `from` on, each paired with the one `stride` further, or with 0 where there is no `second`.
///
/// # Safety
/// `count` values, and as many `stride` further if there is a `second`, are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn rounded_pair(from: *const f32, stride: usize, count: usize, second: bool) -> __m512i {
    let mask = ((1u32 << count) - 1) as u16;
    let second_mask = if second { mask } else { 0 };
    // SAFETY: the masks leave out what is beyond.
    let (low, high) = unsafe {
        (
            _mm512_maskz_loadu_ps(mask, from),
            _mm512_maskz_loadu_ps(second_mask, from.wrapping_add(stride)),
        )
    };
    // Values 0 to 15 are of the first row and 16 to 31 of the second: bring those of a column together.
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    _mm512_permutexvar_epi16(order, bits(_mm512_cvtne2ps_pbh(high, low)))
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn bits(values: __m512bh) -> __m512i {
    // SAFETY: both are 512 bits of whatever content.
    unsafe { std::mem::transmute(values) }
}

/// The transpose of 16 lines of 16 values of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(lines: [__m512i; 16]) -> [__m512i; 16] {
    let mut a = [_mm512_setzero_si512(); 16];
    let mut b = a;
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(lines[2 * i], lines[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(lines[2 * i], lines[2 * i + 1]);
    }
    for i in 0..4 {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for i in 0..4 {
        a[i] = _mm512_shuffle_i32x4::<0x88>(b[i], b[4 + i]);
        a[4 + i] = _mm512_shuffle_i32x4::<0xdd>(b[i], b[4 + i]);
        a[8 + i] = _mm512_shuffle_i32x4::<0x88>(b[8 + i], b[12 + i]);
        a[12 + i] = _mm512_shuffle_i32x4::<0xdd>(b[8 + i], b[12 + i]);
    }
    for i in 0..4 {
        b[i] = _mm512_shuffle_i32x4::<0x88>(a[i], a[8 + i]);
        b[4 + i] = _mm512_shuffle_i32x4::<0x88>(a[4 + i], a[12 + i]);
        b[8 + i] = _mm512_shuffle_i32x4::<0xdd>(a[i], a[8 + i]);
        b[12 + i] = _mm512_shuffle_i32x4::<0xdd>(a[4 + i], a[12 + i]);
    }
    b
}

/// Writes the lines, `stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn store(lines: &[__m512i; 16], to: &mut [f32], stride: usize) {
    assert!(to.len() >= 15 * stride + LANES, "16 lines in {} values", to.len());
    for (index, line) in lines.iter().enumerate() {
        // SAFETY: inside, by the assert.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(index * stride).cast(), *line) }
    }
}
