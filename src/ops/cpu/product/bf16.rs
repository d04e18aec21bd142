//! Products of bf16 values with f32 sums: both operands rounded to bf16 and packed as pairs of neighbours of the inner
//! extent, which is what the processors multiply.
//!
//! - left: tiles of [`TILE_ROWS`] rows by [`STEP`] of the inner extent, `[row block][step][TILE_ROWS][PAIRS]`
//! - right: panels of [`PANEL`] columns, `[panel][pair][PANEL]`
//!
//! Both have zeros beyond the end of the inner extent; rows and columns beyond the last ones hold whatever was there
//! and reach only sums that nobody reads.

use std::arch::asm;
use std::arch::x86_64::*;

use super::PANEL;
use super::matrix::{Matrix, MatrixMut};
use crate::ops::cpu::instructions::Instructions;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;

/// Steps of the inner extent in a tile.
const STEP: usize = 32;

/// Pairs of the inner extent in a tile.
const PAIRS: usize = STEP / 2;

/// Steps of the inner extent between two visits to the output.
const DEPTH: usize = 512;

/// Lanes of a vector.
const LANES: usize = 16;

fn steps(inner: usize) -> usize {
    inner.div_ceil(STEP)
}

/// Values of 32 bits in a block of [`TILE_ROWS`] rows of a left operand.
pub(super) fn row_block_len(inner: usize) -> usize {
    steps(inner) * TILE_ROWS * PAIRS
}

/// Values of 32 bits in a panel of a right operand.
pub(super) fn panel_len(inner: usize) -> usize {
    steps(inner) * PAIRS * PANEL
}

/// Writes blocks of [`TILE_ROWS`] rows from row `first` on.
///
/// # Safety
/// The processor has the instructions of [`Instructions::Avx512Bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
pub(super) unsafe fn pack_rows(left: &Matrix, first: usize, blocks: &mut [f32]) {
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

/// Writes the panel of the columns from `first` on.
///
/// # Safety
/// As [`pack_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
pub(super) unsafe fn pack_panel(right: &Matrix, first: usize, panel: &mut [f32]) {
    let (row_stride, column_stride) = right.strides();
    for (step, block) in panel.chunks_exact_mut(PAIRS * PANEL).enumerate() {
        let at = step * STEP;
        let depth = STEP.min(right.rows() - at);
        for half in (0..PANEL).step_by(LANES) {
            let mut lines = [_mm512_setzero_si512(); PAIRS];
            let columns = right.columns().saturating_sub(first + half).min(LANES);
            if columns > 0 {
                let from = right.from(at, first + half).as_ptr();
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
            store(&lines, &mut block[half..], PANEL);
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

/// `out = left · right`, or `out += left · right`, of packed operands with this inner extent.
pub(super) fn multiply(
    out: &mut MatrixMut,
    left: &[f32],
    right: &[f32],
    inner: usize,
    accumulate: bool,
    instructions: Instructions,
) {
    let tiles = instructions == Instructions::Amx;
    let block_rows = if tiles { 2 * TILE_ROWS } else { VECTOR_ROWS };
    let _configured = tiles.then(Tiles::configure);
    // Where the kernel writes what reaches beyond the last row or column.
    let mut edge = [0.0; 2 * TILE_ROWS * PANEL];
    for first in (0..steps(inner)).step_by(DEPTH / STEP) {
        let count = (DEPTH / STEP).min(steps(inner) - first);
        let adds = accumulate || first > 0;
        for column in (0..out.columns()).step_by(PANEL) {
            let panel = &right[column / PANEL * panel_len(inner) + first * PAIRS * PANEL..];
            let panel = &panel[..count * PAIRS * PANEL];
            let width = PANEL.min(out.columns() - column);
            for row in (0..out.rows()).step_by(block_rows) {
                let n = block_rows.min(out.rows() - row);
                let left = &left[row / TILE_ROWS * row_block_len(inner)..];
                let left = &left[first * TILE_ROWS * PAIRS..];
                let is_whole = n == block_rows && width == PANEL;
                let (to, stride) = if is_whole {
                    (out.at(row, column), out.row_stride())
                } else {
                    (edge.as_mut_ptr(), PANEL)
                };
                let adds_here = adds && is_whole;
                if tiles {
                    // The second block of rows may not exist; the first one then stands in for it.
                    let next = if n > TILE_ROWS { row_block_len(inner) } else { 0 };
                    let lefts =
                        [left, &left[next..]].map(|left| &left[..count * TILE_ROWS * PAIRS]);
                    // SAFETY: `count` tiles of two blocks of rows and of a panel lie in the slices just made, 32 rows of
                    // a panel's width in `to`; the tiles are configured.
                    #[allow(unsafe_code)]
                    unsafe {
                        multiply_tiles(
                            lefts.map(<[f32]>::as_ptr),
                            panel.as_ptr(),
                            count,
                            to,
                            stride,
                            adds_here,
                        );
                    }
                } else {
                    let at = row % TILE_ROWS * PAIRS;
                    let left = &left[..count * TILE_ROWS * PAIRS];
                    // SAFETY: as above, with 8 rows of `to` and the rows of the tiles from `at` on.
                    #[allow(unsafe_code)]
                    unsafe {
                        multiply_vectors(
                            left.as_ptr().add(at),
                            panel.as_ptr(),
                            count,
                            to,
                            stride,
                            adds_here,
                        );
                    }
                }
                if is_whole {
                    continue;
                }
                for (index, sums) in edge.chunks_exact(PANEL).take(n).enumerate() {
                    let to = out.row(row + index, column, width);
                    if adds {
                        to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
                    } else {
                        to.copy_from_slice(&sums[..width]);
                    }
                }
            }
        }
    }
    if inner == 0 && !accumulate {
        let columns = out.columns();
        (0..out.rows()).for_each(|row| out.row(row, 0, columns).fill(0.0));
    }
}

/// Rows that the vector kernel computes at once.
const VECTOR_ROWS: usize = 8;

/// Products of pairs in vectors: 8 rows by a panel.
///
/// # Safety
/// `steps` tiles from `left` on (less the rows before), as many steps of a panel, and 8 rows of 32 values, `stride`
/// apart, exist; the processor has the instructions.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)]
unsafe fn multiply_vectors(
    mut left: *const f32,
    mut panel: *const f32,
    steps: usize,
    out: *mut f32,
    stride: usize,
    adds: bool,
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; VECTOR_ROWS];
    for _ in 0..steps {
        for pair in 0..PAIRS {
            let values = [
                as_bf16(_mm512_loadu_si512(panel.cast())),
                as_bf16(_mm512_loadu_si512(panel.add(LANES).cast())),
            ];
            for (row, sums) in sums.iter_mut().enumerate() {
                let factors = *left.add(row * PAIRS + pair).cast::<i32>();
                let factors = as_bf16(_mm512_set1_epi32(factors));
                sums[0] = _mm512_dpbf16_ps(sums[0], factors, values[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], factors, values[1]);
            }
            panel = panel.add(PANEL);
        }
        left = left.wrapping_add(TILE_ROWS * PAIRS);
    }
    for (row, sums) in sums.iter().enumerate() {
        for (half, &sum) in sums.iter().enumerate() {
            let to = out.add(row * stride + half * LANES);
            _mm512_storeu_ps(to, if adds { _mm512_add_ps(_mm512_loadu_ps(to), sum) } else { sum });
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of whatever content.
    unsafe { std::mem::transmute(bits) }
}

/// The tile registers of this thread, set up for as long as it lives: eight of 16 rows of 64 bytes.
struct Tiles;

impl Tiles {
    fn configure() -> Self {
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1; // the only palette
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64; // bytes a row, the low byte of two
            config.0[48 + tile] = TILE_ROWS as u8;
        }
        // SAFETY: reads the 64 bytes; the compiler uses no tile registers. The processor has them, or `multiply` would
        // not have been asked for them.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags));
        }
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only empties the registers.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem, preserves_flags));
        }
    }
}

/// Products of tiles: two blocks of 16 rows by the two halves of a panel.
///
/// # Safety
/// `steps` tiles of each block, as many steps of a panel, and 32 rows of 32 values, `stride` apart, exist; the tiles
/// are configured.
#[allow(unsafe_code)]
unsafe fn multiply_tiles(
    [upper, lower]: [*const f32; 2],
    panel: *const f32,
    steps: usize,
    out: *mut f32,
    stride: usize,
    adds: bool,
) {
    let right = panel.wrapping_add(LANES);
    let out_lower = out.wrapping_add(TILE_ROWS * stride);
    let stride = stride * size_of::<f32>();
    // SAFETY: the loop reads what the contract says, and the last lines write it. No tile register outlives the call
    // but by what this module does with them.
    unsafe {
        if adds {
            asm!(
                "tileloadd tmm0, [{out} + {stride}]",
                "tileloadd tmm1, [{out} + {stride} + 64]",
                "tileloadd tmm2, [{lower} + {stride}]",
                "tileloadd tmm3, [{lower} + {stride} + 64]",
                out = in(reg) out, lower = in(reg) out_lower, stride = in(reg) stride,
                options(nostack, readonly, preserves_flags),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem, preserves_flags),
            );
        }
        asm!(
            "2:",
            "tileloadd tmm4, [{upper} + {left_stride}]",
            "tileloadd tmm6, [{panel} + {panel_stride}]",
            "tileloadd tmm7, [{right} + {panel_stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {left_stride}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 1024",
            "add {lower}, 1024",
            "add {panel}, 2048",
            "add {right}, 2048",
            "dec {steps}",
            "jnz 2b",
            upper = inout(reg) upper => _, lower = inout(reg) lower => _,
            panel = inout(reg) panel => _, right = inout(reg) right => _,
            steps = inout(reg) steps => _,
            left_stride = in(reg) PAIRS * size_of::<f32>(),
            panel_stride = in(reg) PANEL * size_of::<f32>(),
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{out} + {stride}], tmm0",
            "tilestored [{out} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            out = in(reg) out, lower = in(reg) out_lower, stride = in(reg) stride,
            options(nostack, preserves_flags),
        );
    }
}
