//! The one door to the `gemm` crate: products of row-major slices, checked, on the calling thread.

/// A matrix in a slice, as it lies there or transposed.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// Row-major `[rows, columns]` at the start of `values`.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        let needed = rows * columns;
        assert!(values.len() >= needed, "a {rows}x{columns} matrix in {} values", values.len());
        Self { values, rows, columns, transposed: false }
    }

    /// The same values read as the transposed matrix.
    pub(super) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Distances between neighbours in a row and between rows.
    fn strides(&self) -> (isize, isize) {
        // A slice is at most isize::MAX bytes long, so its extents fit.
        if self.transposed { (self.rows as isize, 1) } else { (1, self.columns as isize) }
    }
}

/// `out = a b`, or `out += a b` with `accumulate`, row-major.
pub(super) fn matmul(out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(out.len() >= m * n, "a {m}x{n} product in {} values", out.len());
    let ((a_cs, a_rs), (b_cs, b_rs)) = (a.strides(), b.strides());
    let alpha = if accumulate { 1.0 } else { 0.0 };
    // SAFETY: the asserts here and in `Matrix::new` keep every index `row * rs + column * cs` of the three
    // matrices inside their slices; `out` is borrowed mutably and cannot overlap the others.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.values.as_ptr(),
            a_cs,
            a_rs,
            b.values.as_ptr(),
            b_cs,
            b_rs,
            alpha,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_plain_and_transposed_matrices_are_right() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2x3
        let b = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]; // 3x2
        let mut out = [10.0; 4];
        matmul(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), false);
        assert_eq!(out, [4.0, 5.0, 10.0, 11.0]);
        matmul(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2), true);
        assert_eq!(out, [8.0, 10.0, 20.0, 22.0]);
        let mut square = [0.0; 9];
        let a = Matrix::new(&a, 2, 3);
        matmul(&mut square, a.transposed(), a, false);
        assert_eq!(square, [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0]);
    }
}
