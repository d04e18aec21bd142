//! GEMM in f32: the right operand packed into panels of [`PANEL`] columns, a row-major left one read in place, and a
//! block of rows by a panel accumulated in registers.
//!
//! Sums run along the inner dimension in order, in blocks of [`DEPTH`], whatever the rest of the shape: a row of a
//! product does not depend on how many rows there are.

use super::buffer::Buffer;
use super::matrix::{Matrix, MatrixMut};
mod pack;

use super::PANEL;
use crate::instructions::Instructions;

pub(super) use pack::{pack_panels, pack_rows, pack_run};

/// Block of the inner dimension (kc) between two updates of the output: the kernel's rows stay in the L1 cache.
const DEPTH: usize = 256;

/// Panels that each block of rows is multiplied by before the next block: they stay in the L2 cache, the rows in L1.
const GROUP: usize = 16;

/// Length of a panel of a right operand, `[inner][PANEL]`. Columns beyond the last are not set: no result depends on
/// them.
pub(super) fn panel_len(inner: usize) -> usize {
    inner * PANEL
}

/// Rows of a left operand that are packed together: those of the kernel (mr).
pub(super) fn block_rows(instructions: Instructions) -> usize {
    Kernel::of(instructions, true).rows()
}

/// `out = left · right`, or `out += left · right`; `packed` holds the rows of `left` where they are packed.
pub(super) fn multiply(
    out: &mut MatrixMut,
    left: &Matrix,
    packed: Option<&Buffer>,
    right: &[f32],
    accumulate: bool,
    instructions: Instructions,
) {
    let kernel = Kernel::of(instructions, packed.is_some());
    let (rows, inner) = (left.rows(), left.columns());
    let (start, [row_stride, column_stride]) = match packed {
        Some(packed) => (packed.as_ptr(), [inner, kernel.rows()]),
        None => (left.as_ptr(), [left.strides().0, 1]),
    };
    let collide = packed.is_none() && (row_stride * size_of::<f32>()).is_multiple_of(COLLIDING);
    let mut copy = collide.then_some(CopiedRows([0.0; MOST_ROWS * DEPTH]));
    for first in (0..inner).step_by(DEPTH) {
        let depth = DEPTH.min(inner - first);
        let adds = accumulate || first > 0;
        let groups = (0..out.columns()).step_by(GROUP * PANEL);
        let blocks =
            groups.flat_map(|group| (0..rows).step_by(kernel.rows()).map(move |row| (group, row)));
        for (group, row) in blocks {
            let n = kernel.rows().min(rows - row);
            let (left, row_stride) = match &mut copy {
                Some(copy) => {
                    for (index, to) in copy.0.chunks_exact_mut(DEPTH).enumerate().take(n) {
                        to[..depth].copy_from_slice(left.run(row + index, first, depth));
                    }
                    (copy.0.as_ptr(), DEPTH)
                }
                None => (start.wrapping_add(row * row_stride + first * column_stride), row_stride),
            };
            for column in (group..out.columns().min(group + GROUP * PANEL)).step_by(PANEL) {
                let panel = &right[column * inner + first * PANEL..][..depth * PANEL];
                let block = Block { depth, left, row_stride, panel: panel.as_ptr() };
                let width = PANEL.min(out.columns() - column);
                if width == PANEL {
                    let to = out.at(row, column);
                    // SAFETY: `n` rows and `depth` columns from (`row`, `first`) on lie inside `left`, its packed rows
                    // or the copy, `depth` rows of the panel in the slice just made, and `n` rows of a whole panel inside
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

/// Rows whose stride is a multiple of this many bytes map to the same set of the L1 cache, which has 8 ways on some
/// processors and 12 on others: they are read from a copy. With an inner dimension of 2,048, reading them in place ran
/// at 100 GFLOP/s on 8 ways, and the copy at 111.
const COLLIDING: usize = 4096;

/// A block of rows with a stride of [`DEPTH`].
#[repr(align(64))]
struct CopiedRows([f32; MOST_ROWS * DEPTH]);

/// Operands of a kernel: rows of the left one and a panel of the right one.
struct Block {
    /// Inner dimension.
    depth: usize,
    left: *const f32,
    /// Of rows that are read in place. Packed rows are interleaved.
    row_stride: usize,
    /// `[depth][PANEL]`.
    panel: *const f32,
}

/// Sets (or adds to) as many rows of `PANEL` values, `stride` apart, as the kernel has.
///
/// # Safety
/// The operands of [`Block`] must be readable, the rows writable, and the processor must have the instructions.
type OfRows = unsafe fn(block: &Block, out: *mut f32, stride: usize, adds: bool);

/// Most rows of a kernel.
const MOST_ROWS: usize = 12;

/// The kernels of an instruction set, for 1, 2, … rows.
struct Kernel {
    of_rows: &'static [OfRows],
}

/// A kernel for each number of rows, which are read in place or packed.
macro_rules! of_rows {
    ($name:ident, $packed:ident, $($rows:literal)*) => {
        if $packed {
            &[$($name::<$rows, true>),*]
        } else {
            &[$($name::<$rows, false>),*]
        }
    };
}

impl Kernel {
    fn of(instructions: Instructions, packed: bool) -> Self {
        let of_rows: &'static [OfRows] = match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Bf16 | Instructions::Amx => {
                of_rows!(avx512, packed, 1 2 3 4 5 6 7 8 9 10 11 12)
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => of_rows!(avx2, packed, 1 2 3 4 5 6),
            _ => of_rows!(plain, packed, 1 2 3 4),
        };
        Self { of_rows }
    }

    fn rows(&self) -> usize {
        self.of_rows.len()
    }
}

/// Defines a kernel with vectors of `$lanes` values: two vectors of columns by at most `$most` rows at a time.
macro_rules! kernel {
    ($name:ident, $features:literal, $most:literal, $lanes:literal,
     $zero:ident, $set:ident, $load:ident, $store:ident, $multiply_add:ident, $add:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code, unsafe_op_in_unsafe_fn)] // the contract is `OfRows`'
        unsafe fn $name<const ROWS: usize, const PACKED: bool>(
            block: &Block,
            out: *mut f32,
            stride: usize,
            adds: bool,
        ) {
            use std::arch::x86_64::*;
            let row_stride = if PACKED { 1 } else { block.row_stride };
            let step = if PACKED { $most } else { 1 };
            for column in (0..PANEL).step_by(2 * $lanes) {
                // Prefetches the output while the sums are computed.
                for row in 0..ROWS {
                    let to = out.add(row * stride + column);
                    _mm_prefetch::<_MM_HINT_ET0>(to.cast());
                    _mm_prefetch::<_MM_HINT_ET0>(to.add($lanes).cast());
                }
                let mut sums = [[$zero(); 2]; ROWS];
                let mut panel = block.panel.add(column);
                // A pointer for every three rows: x86 addresses a base plus an index times 1 or 2.
                let mut lefts =
                    [0, 3, 6, 9].map(|row| of_itself(block.left.wrapping_add(row * row_stride)));
                macro_rules! multiply_step {
                    ($ahead:literal) => {
                        let values = panel.add($ahead * PANEL);
                        let values = [$load(values), $load(values.add($lanes))];
                        for row in 0..ROWS {
                            let at = row % 3 * row_stride + $ahead * step;
                            let factor = $set(*lefts[row / 3].add(at));
                            sums[row][0] = $multiply_add(factor, values[0], sums[row][0]);
                            sums[row][1] = $multiply_add(factor, values[1], sums[row][1]);
                        }
                    };
                }
                for _ in 0..block.depth / 4 {
                    multiply_step!(0);
                    multiply_step!(1);
                    multiply_step!(2);
                    multiply_step!(3);
                    panel = panel.add(4 * PANEL);
                    lefts = lefts.map(|left| left.wrapping_add(4 * step));
                }
                for _ in 0..block.depth % 4 {
                    multiply_step!(0);
                    panel = panel.add(PANEL);
                    lefts = lefts.map(|left| left.wrapping_add(step));
                }
                for row in 0..ROWS {
                    for vector in 0..2 {
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
    12,
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
    6,
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps
);

/// Hides the origin of the pointer from the compiler. Otherwise it derives each row's address from the one before, a
/// dependency chain as long as the number of rows, which takes as long as the FMAs: a seventh of the kernel's speed.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // nothing is read or written through it
fn of_itself(mut pointer: *const f32) -> *const f32 {
    // SAFETY: there are no instructions.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// The portable kernel, vectorised by the compiler.
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)] // the contract is `OfRows`'
unsafe fn plain<const ROWS: usize, const PACKED: bool>(
    block: &Block,
    out: *mut f32,
    stride: usize,
    adds: bool,
) {
    const WIDTH: usize = 8;
    let [row_stride, column_stride] = if PACKED { [1, 4] } else { [block.row_stride, 1] };
    for column in (0..PANEL).step_by(WIDTH) {
        let mut sums = [[0.0f32; WIDTH]; ROWS];
        for step in 0..block.depth {
            let values = &*block.panel.add(step * PANEL + column).cast::<[f32; WIDTH]>();
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = *block.left.add(row * row_stride + step * column_stride);
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

/// Fused where that is a single instruction rather than a call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}
