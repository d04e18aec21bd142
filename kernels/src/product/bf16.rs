//! GEMM of bf16 values with f32 accumulation: both operands are rounded to bf16 and packed as pairs along the inner
//! dimension, the format of the processor's instructions.
//!
//! - left: tiles of [`TILE_ROWS`] rows by [`STEP`] along the inner dimension, `[row block][step][TILE_ROWS][PAIRS]`
//! - right: panels of [`PANEL`] columns, `[panel][pair][PANEL]`
//!
//! Both are padded with zeros beyond the inner dimension and beyond the last row or column.

mod pack;

use std::arch::asm;
use std::arch::x86_64::*;

use super::PANEL;
use super::matrix::MatrixMut;
use crate::instructions::Instructions;

pub(super) use pack::{pack_panels, pack_rows};

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;

/// Inner dimension of a tile.
pub(super) const STEP: usize = 32;

/// Pairs along the inner dimension of a tile.
const PAIRS: usize = STEP / 2;

/// Block of the inner dimension (kc) between two updates of the output.
const DEPTH: usize = 512;

/// Lanes of a vector.
const LANES: usize = 16;

fn steps(inner: usize) -> usize {
    inner.div_ceil(STEP)
}

/// 32-bit values in a block of [`TILE_ROWS`] rows of a left operand.
pub(super) fn row_block_len(inner: usize) -> usize {
    steps(inner) * TILE_ROWS * PAIRS
}

/// 32-bit values in a panel of a right operand.
pub(super) fn panel_len(inner: usize) -> usize {
    steps(inner) * PAIRS * PANEL
}

/// `out = left · right`, or `out += left · right`, for packed operands with this inner dimension.
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
    // The kernel writes blocks that reach beyond the last row or column here; none do where the shape divides evenly.
    let is_even = out.rows().is_multiple_of(block_rows) && out.columns().is_multiple_of(PANEL);
    let mut edge = if is_even { None } else { Some([0.0; 2 * TILE_ROWS * PANEL]) };
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
                let (to, stride) = match &mut edge {
                    Some(edge) if !is_whole => {
                        if adds {
                            out.get([row, column], [n, width], edge);
                        }
                        (edge.as_mut_ptr(), PANEL)
                    }
                    _ => {
                        debug_assert!(is_whole, "a block beyond the edge");
                        (out.at(row, column), out.row_stride())
                    }
                };
                if tiles {
                    // The second block of rows may not exist; the first one then stands in for it.
                    let next = if n > TILE_ROWS { row_block_len(inner) } else { 0 };
                    let lefts =
                        [left, &left[next..]].map(|left| &left[..count * TILE_ROWS * PAIRS]);
                    // SAFETY: `count` tiles of two blocks of rows and of a panel lie in the slices just made, 32 rows
                    // of a panel's width in `to`; the tiles are configured.
                    #[allow(unsafe_code)]
                    unsafe {
                        multiply_tiles(
                            lefts.map(<[f32]>::as_ptr),
                            panel.as_ptr(),
                            count,
                            to,
                            stride,
                            adds,
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
                            adds,
                        );
                    }
                }
                if let Some(edge) = &edge
                    && !is_whole
                {
                    out.put([row, column], [n, width], edge, false);
                }
            }
        }
    }
    if inner == 0 && !accumulate {
        out.clear();
    }
}

/// Rows of a block of the vector kernel.
const VECTOR_ROWS: usize = 8;

/// Dot products of pairs in vectors: 8 rows by a panel.
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
    fetch_rows(out, stride, VECTOR_ROWS);
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

/// Prefetches some rows of a panel's width of the output while the sums are computed: without it AMX's kernel takes a
/// fifth longer where they are not in the cache, and a GPT step with vectors 3 %.
#[inline]
#[allow(unsafe_code)]
fn fetch_rows(out: *const f32, stride: usize, rows: usize) {
    for row in 0..rows {
        let to = out.wrapping_add(row * stride);
        // SAFETY: a prefetch changes no value, and any address is allowed.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(to.cast());
            _mm_prefetch::<_MM_HINT_T0>(to.wrapping_add(LANES).cast());
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and any bit pattern is valid.
    unsafe { std::mem::transmute(bits) }
}

/// The tile registers of this thread, configured for its lifetime: eight tiles of 16 rows of 64 bytes.
struct Tiles;

impl Tiles {
    fn configure() -> Self {
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1; // the only palette
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64; // bytes per row, the low byte of two
            config.0[48 + tile] = TILE_ROWS as u8;
        }
        // SAFETY: reads the 64 bytes; the compiler uses no tile registers. `multiply` asks for them only where the
        // processor has them.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags));
        }
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only releases the registers.
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
    fetch_rows(out, stride, 2 * TILE_ROWS);
    let stride = stride * size_of::<f32>();
    // SAFETY: the loop reads what the contract covers, and the last lines write it. Only this module uses tile
    // registers.
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
