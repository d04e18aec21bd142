//! Views of f32 slices as matrices: strided ones to read, and row-major ones to write, which split into disjoint parts.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::PANEL;
use crate::wide::wide;

/// A view of a slice as a matrix, row-major or column-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major `[rows, columns]` at the start of `values`.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        let needed = rows * columns;
        assert!(values.len() >= needed, "a {rows}x{columns} matrix in {} values", values.len());
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transposed view.
    pub(crate) fn transposed(self) -> Self {
        let Self { rows, columns, row_stride, column_stride, .. } = self;
        Self {
            rows: columns,
            columns: rows,
            row_stride: column_stride,
            column_stride: row_stride,
            ..self
        }
    }

    /// A range of the rows.
    pub(crate) fn rows_at(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "{rows:?} of {} rows", self.rows);
        let from = (rows.start * self.row_stride).min(self.values.len());
        Self { values: &self.values[from..], rows: rows.len(), ..self }
    }

    /// A range of the columns of a row-major matrix.
    pub(crate) fn columns_at(self, columns: Range<usize>) -> Self {
        let Range { start, end } = columns;
        assert!(start <= end && end <= self.columns, "{columns:?} of {} columns", self.columns);
        assert_eq!(self.column_stride, 1, "contiguous rows");
        let from = start.min(self.values.len());
        Self { values: &self.values[from..], columns: columns.len(), ..self }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Part of a row of a row-major matrix.
    pub(super) fn run(&self, row: usize, column: usize, len: usize) -> &'a [f32] {
        assert_eq!(self.column_stride, 1, "a contiguous row");
        &self.values[row * self.row_stride + column..][..len]
    }

    /// Adds every row to `sums`, first to last. The matrix must be row-major.
    pub(crate) fn sum_rows(&self, sums: &mut [f32]) {
        assert_eq!((self.column_stride, self.columns), (1, sums.len()), "rows to add up");
        wide!({
            for row in 0..self.rows {
                let row = &self.values[row * self.row_stride..][..sums.len()];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        });
    }

    /// Row stride and column stride. One of the two is 1.
    pub(super) fn strides(&self) -> (usize, usize) {
        (self.row_stride, self.column_stride)
    }

    /// Pointer to the first value. Every `row * row_stride + column * column_stride` within the dimensions is in
    /// bounds: `new` has checked the whole matrix, and parts of it reach no further.
    pub(super) fn as_ptr(&self) -> *const f32 {
        self.values.as_ptr()
    }

    /// The values from (`row`, `column`) on.
    pub(super) fn from(&self, row: usize, column: usize) -> &'a [f32] {
        &self.values[row * self.row_stride + column * self.column_stride..]
    }
}

/// A row-major matrix to write to, or some rows and columns of one.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view has exclusive access to its values, as a `&mut [f32]`; `columns_of` gives each value to one part, and
// `part` borrows.
#[allow(unsafe_code)]
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// Row-major `[rows, columns]` at the start of `values`.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        let needed = rows * columns;
        assert!(values.len() >= needed, "a {rows}x{columns} product in {} values", values.len());
        let start = values.as_mut_ptr();
        Self { start, rows, columns, row_stride: columns, values: PhantomData }
    }

    /// As [`MatrixMut::new`], over uninitialised values.
    ///
    /// # Safety
    /// A GEMM that does not accumulate must set a value before anything reads it or adds to it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn unset(
        values: &'a mut [MaybeUninit<f32>],
        rows: usize,
        columns: usize,
    ) -> Self {
        assert!(values.len() >= rows * columns, "a {rows}x{columns} product");
        let start = values.as_mut_ptr().cast();
        Self { start, rows, columns, row_stride: columns, values: PhantomData }
    }

    /// Parts of `width` columns each, the last possibly narrower.
    pub(crate) fn columns_of(self, width: usize) -> Vec<Self> {
        let part = |first: usize| Self {
            // In bounds, because `first` is below the number of columns.
            start: self.start.wrapping_add(first),
            columns: width.min(self.columns - first),
            ..self
        };
        (0..self.columns).step_by(width).map(part).collect()
    }

    /// A range of the rows and columns, borrowed.
    pub(crate) fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> MatrixMut<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "{rows:?} of {}", self.rows);
        let is_inside = columns.start <= columns.end && columns.end <= self.columns;
        assert!(is_inside, "{columns:?} of {}", self.columns);
        MatrixMut {
            // In bounds, or the part is empty and never dereferenced.
            start: self.start.wrapping_add(rows.start * self.row_stride + columns.start),
            rows: rows.len(),
            columns: columns.len(),
            row_stride: self.row_stride,
            values: PhantomData,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Pointer to (`row`, `column`), which must be in bounds.
    pub(super) fn at(&mut self, row: usize, column: usize) -> *mut f32 {
        debug_assert!(row < self.rows && column < self.columns);
        self.start.wrapping_add(row * self.row_stride + column)
    }

    /// `len` values of a row, which must be initialised.
    pub(crate) fn row(&mut self, row: usize, column: usize, len: usize) -> &mut [f32] {
        assert!(row < self.rows && column + len <= self.columns, "a part of a row");
        // SAFETY: in bounds, by the assert; borrowed mutably through `self`.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.at(row, column), len)
        }
    }
}

impl MatrixMut<'_> {
    /// Writes `block`, rows of [`PANEL`], to `rows` rows of `width` values from (`row`, `column`) on, or with `adds`
    /// adds it.
    pub(super) fn put(
        &mut self,
        [row, column]: [usize; 2],
        [rows, width]: [usize; 2],
        block: &[f32],
        adds: bool,
    ) {
        for (index, values) in block.chunks_exact(PANEL).take(rows).enumerate() {
            let row = row + index;
            if adds {
                let to = self.row(row, column, width);
                to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
            } else {
                self.set(row, column, &values[..width]);
            }
        }
    }

    /// The inverse of [`MatrixMut::put`]: copies those values to `block`. They must be initialised.
    #[cfg(target_arch = "x86_64")] // for bf16
    pub(super) fn get(
        &mut self,
        [row, column]: [usize; 2],
        [rows, width]: [usize; 2],
        block: &mut [f32],
    ) {
        for (index, values) in block.chunks_exact_mut(PANEL).take(rows).enumerate() {
            values[..width].copy_from_slice(self.row(row + index, column, width));
        }
    }

    /// Sets every value to 0: a GEMM with an empty inner dimension.
    pub(super) fn clear(&mut self) {
        let zeros = vec![0.0; self.columns];
        for row in 0..self.rows {
            self.set(row, 0, &zeros);
        }
    }

    /// Sets consecutive values of a row, which may be uninitialised.
    fn set(&mut self, row: usize, column: usize, values: &[f32]) {
        assert!(row < self.rows && column + values.len() <= self.columns, "a part of a row");
        // SAFETY: in bounds, by the assert, and to these values the view has exclusive access.
        #[allow(unsafe_code)]
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.at(row, column), values.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_matrix_are_read_where_they_are() {
        let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let matrix = Matrix::new(&values, 3, 4);
        let part = matrix.rows_at(1..3);
        assert_eq!((part.rows(), part.columns(), part.from(1, 1)[0]), (2, 4, 9.0));
        assert_eq!(part.transposed().rows_at(2..4).from(0, 1)[0], 10.0);
        assert_eq!(matrix.rows_at(3..3).rows(), 0);
    }

    #[test]
    fn parts_to_write_to_cover_every_column_once() {
        let mut values = vec![0.0; 10];
        for (index, mut part) in
            MatrixMut::new(&mut values, 2, 5).columns_of(2).into_iter().enumerate()
        {
            let columns = part.columns();
            for row in 0..2 {
                part.row(row, 0, columns).fill(index as f32 + 1.0);
            }
        }
        assert_eq!(values, [1.0, 1.0, 2.0, 2.0, 3.0, 1.0, 1.0, 2.0, 2.0, 3.0]);
    }
}
