//! Products in f32: the right operand packed into panels of [`PANEL`] columns, the left one read where it lies, a
//! block of rows by a panel kept in registers.
//!
//! The sums over the inner extent run in its order, in blocks of [`DEPTH`], whatever the rest of the shape: a row of
//! a product does not depend on how many rows there are.

use super::PANEL;
use super::buffer::Buffer;
use super::matrix::{Matrix, MatrixMut};
use crate::ops::cpu::instructions::Instructions;

/// Steps of the inner extent between two visits to the output: a panel of them stays in the first-level cache.
const DEPTH: usize = 256;

/// The panels of a right operand: `[panel][inner][PANEL]`, with zeros beyond the last column.
pub(super) fn panel_len(inner: usize) -> usize {
    inner * PANEL
}

/// Writes the panel of the columns from `first` on.
pub(super) fn pack_panel(right: &Matrix, first: usize, panel: &mut [f32]) {
    let columns = (right.columns() - first).min(PANEL);
    let (row_stride, column_stride) = right.strides();
    let rows = panel.chunks_exact_mut(PANEL);
    if column_stride == 1 {
        for (row, to) in rows.enumerate() {
            to[..columns].copy_from_slice(&right.from(row, first)[..columns]);
            to[columns..].fill(0.0);
        }
        return;
    }
    // A column is a row of memory: blocks of rows, so that both sides stay in the cache.
    const BLOCK: usize = 16;
    panel.chunks_mut(BLOCK * PANEL).enumerate().for_each(|(block, to)| {
        if columns < PANEL {
            to.fill(0.0);
        }
        let from = block * BLOCK;
        let len = to.len() / PANEL;
        for column in 0..columns {
            let values = right.from(from, first + column);
            for row in 0..len {
                to[row * PANEL + column] = values[row * row_stride];
            }
        }
    });
}

/// Rows of a left operand that are packed together: those of the kernel.
pub(super) fn block_rows(instructions: Instructions) -> usize {
    Kernel::of(instructions).rows
}

/// Writes blocks of [`block_rows`] rows from row `first` on, `[block][inner][row]`, of a matrix whose columns are runs of
/// memory.
pub(super) fn pack_rows(
    left: &Matrix,
    first: usize,
    blocks: &mut [f32],
    instructions: Instructions,
) {
    match block_rows(instructions) {
        12 => pack_rows_of::<12>(left, first, blocks),
        6 => pack_rows_of::<6>(left, first, blocks),
        _ => pack_rows_of::<4>(left, first, blocks),
    }
}

fn pack_rows_of<const ROWS: usize>(left: &Matrix, first: usize, blocks: &mut [f32]) {
    // Columns at a time: long enough runs to write, and little enough to read that it stays in the cache.
    const COLUMNS: usize = 32;
    let inner = left.columns();
    for at in (0..inner).step_by(COLUMNS) {
        let columns = at..inner.min(at + COLUMNS);
        for (index, block) in blocks.chunks_exact_mut(ROWS * inner).enumerate() {
            let from = first + index * ROWS;
            let n = ROWS.min(left.rows() - from);
            let (places, _) = block[at * ROWS..].as_chunks_mut::<ROWS>();
            for (column, to) in columns.clone().zip(places) {
                let values = left.from(from, column);
                match values.first_chunk::<ROWS>() {
                    Some(values) if n == ROWS => *to = *values,
                    _ => {
                        to[..n].copy_from_slice(&values[..n]);
                        to[n..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// `out = left · right`, or `out += left · right`; `packed` are the rows of `left` if they are packed.
pub(super) fn multiply(
    out: &mut MatrixMut,
    left: &Matrix,
    packed: Option<&Buffer>,
    right: &[f32],
    accumulate: bool,
    instructions: Instructions,
) {
    let kernel = Kernel::of(instructions);
    let (rows, inner) = (left.rows(), left.columns());
    let (start, [row_stride, block_stride, column_stride]) = match packed {
        Some(packed) => (packed.as_ptr(), [1, inner, kernel.rows]),
        None => {
            let (row_stride, column_stride) = left.strides();
            (left.as_ptr(), [row_stride, row_stride, column_stride])
        }
    };
    for first in (0..inner).step_by(DEPTH) {
        let depth = DEPTH.min(inner - first);
        let adds = accumulate || first > 0;
        for column in (0..out.columns()).step_by(PANEL) {
            let panel = &right[column * inner + first * PANEL..][..depth * PANEL];
            let width = PANEL.min(out.columns() - column);
            for row in (0..rows).step_by(kernel.rows) {
                let n = kernel.rows.min(rows - row);
                let block = Block {
                    depth,
                    left: start.wrapping_add(row * block_stride + first * column_stride),
                    row_stride,
                    column_stride,
                    panel: panel.as_ptr(),
                };
                if width == PANEL {
                    let to = out.at(row, column);
                    // SAFETY: `n` rows and `depth` columns from (`row`, `first`) on lie inside `left` or its packed
                    // rows, `depth` rows of the panel in the slice just made, and `n` rows of a whole panel inside
                    // `out`; the processor has the kernel's instructions.
                    #[allow(unsafe_code)]
                    unsafe {
                        (kernel.of_rows[n - 1])(&block, to, out.row_stride(), adds);
                    }
                    continue;
                }
                let mut sums = [0.0; MOST_ROWS * PANEL];
                // SAFETY: as above, with `n` rows of a panel in `sums`.
                #[allow(unsafe_code)]
                unsafe {
                    (kernel.of_rows[n - 1])(&block, sums.as_mut_ptr(), PANEL, false);
                }
                out.put([row, column], [n, width], &sums, adds);
            }
        }
    }
    if inner == 0 && !accumulate {
        out.clear();
    }
}

/// What a kernel reads: rows of the left operand and a panel of the right one.
struct Block {
    /// Steps of the inner extent.
    depth: usize,
    left: *const f32,
    row_stride: usize,
    column_stride: usize,
    /// `[depth][PANEL]`.
    panel: *const f32,
}

/// Sets (or adds to) as many rows of `PANEL` values, `stride` apart, as the kernel is for.
///
/// # Safety
/// What [`Block`] names must be readable, the rows writable, and the processor must have the instructions.
type OfRows = unsafe fn(block: &Block, out: *mut f32, stride: usize, adds: bool);

/// Most rows of a kernel.
const MOST_ROWS: usize = 12;

/// The kernels of a set of instructions, for 1 to `rows` rows.
struct Kernel {
    rows: usize,
    of_rows: &'static [OfRows],
}

impl Kernel {
    fn of(instructions: Instructions) -> Self {
        let of_rows: &'static [OfRows] = match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Bf16 | Instructions::Amx => &[
                avx512::<1>,
                avx512::<2>,
                avx512::<3>,
                avx512::<4>,
                avx512::<5>,
                avx512::<6>,
                avx512::<7>,
                avx512::<8>,
                avx512::<9>,
                avx512::<10>,
                avx512::<11>,
                avx512::<12>,
            ],
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                &[avx2::<1>, avx2::<2>, avx2::<3>, avx2::<4>, avx2::<5>, avx2::<6>]
            }
            _ => &[plain::<1>, plain::<2>, plain::<3>, plain::<4>],
        };
        Self { rows: of_rows.len(), of_rows }
    }
}

/// Defines the kernel of vectors of `$lanes` values that takes `$vectors` of them at a time.
macro_rules! kernel {
    ($name:ident, $features:literal, $vectors:literal, $lanes:literal,
     $zero:ident, $set:ident, $load:ident, $store:ident, $multiply_add:ident, $add:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code, unsafe_op_in_unsafe_fn)] // the contract is `OfRows`'
        unsafe fn $name<const ROWS: usize>(
            block: &Block,
            out: *mut f32,
            stride: usize,
            adds: bool,
        ) {
            use std::arch::x86_64::*;
            const WIDTH: usize = $vectors * $lanes;
            for column in (0..PANEL).step_by(WIDTH) {
                let mut sums = [[$zero(); $vectors]; ROWS];
                let mut panel = block.panel.add(column);
                let mut left = block.left;
                for _ in 0..block.depth {
                    let mut values = [$zero(); $vectors];
                    for vector in 0..$vectors {
                        values[vector] = $load(panel.add(vector * $lanes));
                    }
                    for row in 0..ROWS {
                        let factor = $set(*left.add(row * block.row_stride));
                        for vector in 0..$vectors {
                            sums[row][vector] =
                                $multiply_add(factor, values[vector], sums[row][vector]);
                        }
                    }
                    panel = panel.add(PANEL);
                    left = left.wrapping_add(block.column_stride);
                }
                for row in 0..ROWS {
                    for vector in 0..$vectors {
                        let to = out.add(row * stride + column + vector * $lanes);
                        let sum = sums[row][vector];
                        $store(to, if adds { $add($load(to), sum) } else { sum });
                    }
                }
            }
        }
    };
}

kernel!(
    avx512,
    "avx512f",
    2,
    16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps
);
kernel!(
    avx2,
    "avx2,fma",
    2,
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps
);

/// The kernel that the compiler makes vectors of as it can.
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)] // the contract is `OfRows`'
unsafe fn plain<const ROWS: usize>(block: &Block, out: *mut f32, stride: usize, adds: bool) {
    const WIDTH: usize = 8;
    for column in (0..PANEL).step_by(WIDTH) {
        let mut sums = [[0.0f32; WIDTH]; ROWS];
        for step in 0..block.depth {
            let values = &*block.panel.add(step * PANEL + column).cast::<[f32; WIDTH]>();
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = *block.left.add(row * block.row_stride + step * block.column_stride);
                for lane in 0..WIDTH {
                    sums[lane] = multiply_add(factor, values[lane], sums[lane]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let to = &mut *out.add(row * stride + column).cast::<[f32; WIDTH]>();
            for lane in 0..WIDTH {
                to[lane] = if adds { to[lane] + sums[lane] } else { sums[lane] };
            }
        }
    }
}

/// Fused where that is one instruction, and not a call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}
