//! GEMM over slices: the one place where the CPU device multiplies matrices.
//!
//! A product is computed on the calling thread; operands that several threads share are packed once ([`Left`],
//! [`Right`]), and each thread multiplies its own rows or columns. Every element is a sum along the inner dimension, in
//! order and in blocks of fixed size, so that neither the number of threads nor the other dimensions change it.

#[cfg(target_arch = "x86_64")]
mod bf16;
mod buffer;
mod f32;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod transpose;

use std::mem::MaybeUninit;

use rayon::prelude::*;

pub(super) use self::buffer::Buffer;
use super::instructions::Instructions;
use super::precision::Precision;

pub(super) use matrix::{Matrix, MatrixMut};

/// Columns of a right operand that are packed and multiplied together.
pub(super) const PANEL: usize = 32;

/// Every part of a right operand but the last has a multiple of this many rows: bf16 packs that many together.
pub(super) const PART_STEP: usize = 32;

#[cfg(target_arch = "x86_64")]
const _: () = assert!(PART_STEP == bf16::STEP);

/// Whether GEMMs are so fast that saving multiplications does not pay: with AMX.
pub(super) fn is_fast(precision: Precision) -> bool {
    precision != Precision::F32 && Instructions::in_use() == Instructions::Amx
}

#[cfg(not(target_arch = "x86_64"))]
const NO_BF16: &str = "bf16 is refused where there are no kernels for it";

/// How operands are packed and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    precision: Precision,
    instructions: Instructions,
}

impl Way {
    fn of(precision: Precision) -> Self {
        Self { precision, instructions: Instructions::in_use() }
    }
}

/// A GEMM's left operand, packed where that is needed.
#[derive(Debug)]
pub(super) struct Left<'a> {
    matrix: Matrix<'a>,
    /// Blocks of packed rows; row-major f32 is read in place.
    packed: Option<Buffer>,
    way: Way,
}

/// A GEMM's right operand, packed.
#[derive(Debug)]
pub(super) struct Right {
    rows: usize,
    columns: usize,
    panels: Buffer,
    panel_len: usize,
    way: Way,
}

/// Consecutive values of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run<'a> {
    Values(&'a [f32]),
    /// This many zeros.
    Zeros(usize),
}

impl Run<'_> {
    fn len(&self) -> usize {
        match *self {
            Self::Values(values) => values.len(),
            Self::Zeros(n) => n,
        }
    }
}

impl<'a> Left<'a> {
    /// Packed on this thread.
    pub(super) fn new(matrix: Matrix<'a>, precision: Precision) -> Self {
        Self::in_way(matrix, Way::of(precision), false)
    }

    fn in_way(matrix: Matrix<'a>, way: Way, shared: bool) -> Self {
        let (rows, inner) = (matrix.rows(), matrix.columns());
        let by_rows = matrix.strides().1 == 1;
        let (block_rows, block_len) = match way.precision {
            Precision::F32 if by_rows => return Self { matrix, packed: None, way },
            Precision::F32 => {
                let rows = f32::block_rows(way.instructions);
                (rows, rows * inner)
            }
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16(_) => (bf16::TILE_ROWS, bf16::row_block_len(inner)),
            #[cfg(not(target_arch = "x86_64"))]
            Precision::Bf16(_) => unreachable!("{NO_BF16}"),
        };
        let mut packed = Buffer::new(rows.div_ceil(block_rows) * block_len);
        // Many blocks at once where one alone would read a few values of every row in memory.
        let at_once = if by_rows { 1 } else { 64 };
        for_each_block(&mut packed, at_once * block_len, shared, |index, blocks| {
            let first = index * at_once * block_rows;
            match way.precision {
                Precision::F32 => f32::pack_rows(&matrix, first, blocks, way.instructions),
                // SAFETY: this way is taken only where the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                Precision::Bf16(_) => unsafe { bf16::pack_rows(&matrix, first, blocks) },
                #[cfg(not(target_arch = "x86_64"))]
                Precision::Bf16(_) => unreachable!("{NO_BF16}"),
            }
        });
        Self { matrix, packed: Some(packed), way }
    }
}

impl Right {
    /// Packed on this thread.
    pub(super) fn new(matrix: Matrix, precision: Precision) -> Self {
        Self::in_way(matrix, Way::of(precision), false)
    }

    /// Packed by all threads.
    pub(super) fn shared(matrix: Matrix, precision: Precision) -> Self {
        Self::in_way(matrix, Way::of(precision), true)
    }

    /// Packed as its values come, in any order, until all are set: `each` is given a callback that takes a row, a first
    /// column, and the values or zeros from there on. `None` where the precision packs neighbouring rows together.
    pub(super) fn from_runs(
        [rows, columns]: [usize; 2],
        precision: Precision,
        each: impl FnOnce(&mut dyn FnMut(usize, usize, Run)),
    ) -> Option<Self> {
        if precision != Precision::F32 {
            return None;
        }
        let way = Way::of(precision);
        let panel_len = f32::panel_len(rows);
        let mut panels = Buffer::new(columns.div_ceil(PANEL) * panel_len);
        each(&mut |row, column, run| f32::pack_run(&mut panels, panel_len, row, column, run));
        Some(Self { rows, columns, panels, panel_len, way })
    }

    /// Packed on this thread as its rows come: `each` is given a callback that takes the next rows as a matrix, until
    /// all are set. Every matrix but the last has a multiple of [`PART_STEP`] rows.
    pub(super) fn from_parts(
        [rows, columns]: [usize; 2],
        precision: Precision,
        each: impl FnOnce(&mut dyn FnMut(Matrix)),
    ) -> Self {
        Self::parts_in_way([rows, columns], Way::of(precision), each)
    }

    fn parts_in_way(
        [rows, columns]: [usize; 2],
        way: Way,
        each: impl FnOnce(&mut dyn FnMut(Matrix)),
    ) -> Self {
        let mut right = Self::unset([rows, columns], way);
        let mut done = 0;
        each(&mut |part| {
            assert_eq!((part.columns(), done % PART_STEP), (columns, 0), "a part of an operand");
            pack_panels(&part, 0, done, &mut right.panels, right.panel_len, right.way);
            done += part.rows();
        });
        assert_eq!(done, rows, "rows of an operand");
        right
    }

    /// With uninitialised panels.
    fn unset([rows, columns]: [usize; 2], way: Way) -> Self {
        let panel_len = match way.precision {
            Precision::F32 => f32::panel_len(rows),
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16(_) => bf16::panel_len(rows),
            #[cfg(not(target_arch = "x86_64"))]
            Precision::Bf16(_) => unreachable!("{NO_BF16}"),
        };
        let panels = Buffer::new(columns.div_ceil(PANEL) * panel_len);
        Self { rows, columns, panels, panel_len, way }
    }

    fn in_way(matrix: Matrix, way: Way, shared: bool) -> Self {
        let mut right = Self::unset([matrix.rows(), matrix.columns()], way);
        let panel_len = right.panel_len;
        let at_once = if shared { 1 } else { matrix.columns().div_ceil(PANEL) };
        for_each_block(&mut right.panels, at_once * panel_len, shared, |index, panels| {
            pack_panels(&matrix, index * at_once * PANEL, 0, panels, panel_len, way);
        });
        right
    }
}

/// Packs `matrix` into the rows from `row` on of panels; the first panel holds its columns from `first` on.
fn pack_panels(
    matrix: &Matrix,
    first: usize,
    row: usize,
    panels: &mut [f32],
    panel_len: usize,
    way: Way,
) {
    if panels.is_empty() {
        return; // no columns, or no rows
    }
    match way.precision {
        Precision::F32 => {
            f32::pack_panels(matrix, first, row, panels, panel_len, way.instructions);
        }
        // SAFETY: this way is taken only where the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Precision::Bf16(_) => unsafe { bf16::pack_panels(matrix, first, row, panels, panel_len) },
        #[cfg(not(target_arch = "x86_64"))]
        Precision::Bf16(_) => unreachable!("{NO_BF16}"),
    }
}

/// Calls `work` on each block of a buffer, on this thread or in parallel.
fn for_each_block(
    buffer: &mut Buffer,
    block_len: usize,
    shared: bool,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let block_len = block_len.max(1);
    if shared {
        let blocks = buffer.par_chunks_mut(block_len).enumerate();
        return blocks.for_each(|(index, block)| work(index, block));
    }
    buffer.chunks_mut(block_len).enumerate().for_each(|(index, block)| work(index, block));
}

/// `out = left · right`, or `out += left · right` with `accumulate`, on this thread.
pub(super) fn multiply(mut out: MatrixMut, left: &Left, right: &Right, accumulate: bool) {
    assert_eq!(out.columns(), right.columns, "columns of a product");
    multiply_panels(&mut out, left, right, 0, accumulate);
}

/// As many columns of `left · right` as `out` has, from `first`, which starts a panel, on; on this thread.
pub(super) fn multiply_from(mut out: MatrixMut, left: &Left, right: &Right, first: usize) {
    assert!(first.is_multiple_of(PANEL), "column {first} starts no panel");
    multiply_panels(&mut out, left, right, first / PANEL, false);
}

/// `out = left · right` in up to `tasks` parallel tasks, each of which computes a range of columns and calls `then`
/// with the index of the first and the columns themselves.
pub(super) fn multiply_columns(
    out: MatrixMut,
    left: &Left,
    right: &Right,
    tasks: usize,
    then: impl Fn(usize, &mut MatrixMut) + Sync,
) {
    assert_eq!(out.columns(), right.columns, "columns of a product");
    let panels = right.columns.div_ceil(PANEL).div_ceil(tasks).max(1);
    let parts = out.columns_of(panels * PANEL);
    parts.into_par_iter().enumerate().for_each(|(index, mut part)| {
        multiply_panels(&mut part, left, right, index * panels, false);
        then(index * panels * PANEL, &mut part);
    });
}

/// As many columns of a product as `out` has, from panel `first` on.
fn multiply_panels(
    out: &mut MatrixMut,
    left: &Left,
    right: &Right,
    first: usize,
    accumulate: bool,
) {
    let inner = left.matrix.columns();
    assert_eq!(inner, right.rows, "inner extents of a product");
    assert_eq!(out.rows(), left.matrix.rows(), "rows of a product");
    assert!(first * PANEL + out.columns() <= right.columns, "columns of a product");
    assert_eq!(left.way, right.way, "the precision of two operands");
    let instructions = left.way.instructions;
    let panels = &right.panels[first * right.panel_len..];
    match (&left.packed, left.way.precision) {
        #[cfg(target_arch = "x86_64")]
        (Some(tiles), Precision::Bf16(_)) => {
            bf16::multiply(out, tiles, panels, inner, accumulate, instructions);
        }
        (packed, _) => {
            let (left, packed) = (&left.matrix, packed.as_ref());
            f32::multiply(out, left, packed, panels, accumulate, instructions);
        }
    }
}

/// `out` set to `left · right`, row-major.
pub(super) fn product_in<'a>(
    out: &'a mut [MaybeUninit<f32>],
    left: &Left,
    right: &Right,
) -> &'a mut [f32] {
    let (rows, columns) = (left.matrix.rows(), right.columns);
    assert_eq!(out.len(), rows * columns, "a product's place");
    // SAFETY: the GEMM does not accumulate and sets every value.
    #[allow(unsafe_code)]
    unsafe {
        multiply(MatrixMut::unset(out, rows, columns), left, right, false);
        out.assume_init_mut()
    }
}

/// Sets an empty `sum` to `left · right`, and adds it to any other.
pub(super) fn add_product(sum: &mut Vec<f32>, left: &Left, right: &Right) {
    let (rows, columns) = (left.matrix.rows(), right.columns);
    if sum.is_empty() {
        sum.reserve_exact(rows * columns);
        product_in(&mut sum.spare_capacity_mut()[..rows * columns], left, right);
        // SAFETY: the line before has set them.
        #[allow(unsafe_code)]
        unsafe {
            sum.set_len(rows * columns);
        }
        return;
    }
    multiply(MatrixMut::new(sum, rows, columns), left, right, true);
}

/// The sum of the products of pairs of operands, `[rows, columns]`, in parallel over columns: the threads share the
/// packed operands, and each sum is written in place.
pub(super) fn sum_of_products([rows, columns]: [usize; 2], pairs: &[(Left, Right)]) -> Vec<f32> {
    if pairs.is_empty() {
        return vec![0.0; rows * columns];
    }
    let mut sum = Vec::with_capacity(rows * columns);
    let place = &mut sum.spare_capacity_mut()[..rows * columns];
    // SAFETY: the first product of each part does not accumulate.
    #[allow(unsafe_code)]
    let out = unsafe { MatrixMut::unset(place, rows, columns) };
    // Two parts per thread, to balance threads of uneven speed.
    let panels = (columns.div_ceil(PANEL) / (2 * rayon::current_num_threads())).max(1);
    let parts = out.columns_of(panels * PANEL);
    parts.into_par_iter().enumerate().for_each(|(index, mut part)| {
        for (at, (left, right)) in pairs.iter().enumerate() {
            multiply_panels(&mut part, left, right, index * panels, at > 0);
        }
    });
    // SAFETY: the parts cover all columns, and the first product of each sets every value.
    #[allow(unsafe_code)]
    unsafe {
        sum.set_len(rows * columns);
    }
    sum
}

/// `out = a b`, or `out += a b` with `accumulate`, on this thread.
pub(super) fn matmul(out: MatrixMut, a: Matrix, b: Matrix, accumulate: bool, precision: Precision) {
    multiply(out, &Left::new(a, precision), &Right::new(b, precision), accumulate);
}

#[cfg(test)]
mod tests;
