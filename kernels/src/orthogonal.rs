//! Orthogonalises matrices by Newton-Schulz iteration (Jordan et al. 2024, "Muon"). The quintic of a step is a
//! polynomial of the Gram matrix: all steps are taken on the smaller of the two Gram matrices, and the matrix itself is
//! multiplied once, at the end. In f32 whatever the precision of other GEMMs, since the Gram matrix squares the ratio of
//! the singular values.

use super::precision::Precision;
use super::product::{Left, Matrix, MatrixMut, PANEL, Right, matmul, multiply_from};
use super::wide::wide;

/// Iterations.
pub const ORTHOGONAL_STEPS: usize = 5;
/// Coefficients of a step on each singular value x, `a x + b x³ + c x⁵`: the steepest at 0.
pub const ORTHOGONAL_QUINTIC: [f32; 3] = [3.4445, -4.775, 2.0315];
/// The least norm that is divided by; PyTorch's value.
pub const ORTHOGONAL_FLOOR: f32 = 1e-7;

/// Brings the singular values of a row-major matrix near 1, on this thread: between .68 and 1.2, but for those below .003 of
/// the norm, which end lower. A matrix of zeros remains one.
///
/// # Shapes
/// - matrix: `[rows, columns]`
pub fn orthogonalise(matrix: &mut [f32], [rows, columns]: [usize; 2]) {
    assert_eq!(matrix.len(), rows * columns, "a {rows}x{columns} matrix");
    let n = rows.min(columns);
    if n == 0 {
        return;
    }
    let is_tall = rows > columns;
    let view = Matrix::new(matrix, rows, columns);
    let mut gram = match is_tall {
        true => symmetric_product(view.transposed(), view),
        false => symmetric_product(view, view.transposed()),
    };
    let trace: f32 = gram.iter().step_by(n + 1).sum();
    let norm = trace.sqrt().max(ORTHOGONAL_FLOOR);
    scale(&mut gram, 1.0 / (norm * norm));

    let mut factor = quintic_factor(&gram, n);
    let mut product = factor.clone();
    for _ in 1..ORTHOGONAL_STEPS {
        // Polynomials of the same matrix commute: all of these are symmetric.
        let half = symmetric_product(square(&factor, n), square(&gram, n));
        gram = symmetric_product(square(&factor, n), square(&half, n));
        factor = quintic_factor(&gram, n);
        product = symmetric_product(square(&factor, n), square(&product, n));
    }
    scale(&mut product, 1.0 / norm);

    let before = matrix.to_vec();
    let (before, product) = (Matrix::new(&before, rows, columns), square(&product, n));
    let out = MatrixMut::new(matrix, rows, columns);
    match is_tall {
        true => matmul(out, before, product, false, Precision::F32),
        false => matmul(out, product, before, false, Precision::F32),
    }
}

fn square(values: &[f32], n: usize) -> Matrix<'_> {
    Matrix::new(values, n, n)
}

fn scale(values: &mut [f32], factor: f32) {
    wide!(values.iter_mut().for_each(|value| *value *= factor));
}

/// `a + b G + c G²`, by which a step multiplies a matrix of Gram matrix G, `[n, n]`.
fn quintic_factor(gram: &[f32], n: usize) -> Vec<f32> {
    let [a, b, c] = ORTHOGONAL_QUINTIC;
    let mut factor = symmetric_product(square(gram, n), square(gram, n));
    wide!({
        factor.iter_mut().zip(gram).for_each(|(square, gram)| *square = b * gram + c * *square);
        factor.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal += a);
    });
    factor
}

/// `left · right`, which is symmetric, `[n, n]`: computed from the diagonal down.
fn symmetric_product(left: Matrix, right: Matrix) -> Vec<f32> {
    let n = left.rows();
    let right = Right::new(right, Precision::F32);
    let mut out = vec![0.0; n * n];
    let mut matrix = MatrixMut::new(&mut out, n, n);
    for first in (0..n).step_by(PANEL) {
        let below = Left::new(left.rows_at(first..n), Precision::F32);
        let columns = first..(first + PANEL).min(n);
        multiply_from(matrix.part(first..n, columns), &below, &right, first);
    }
    for row in 0..n {
        for column in row + 1..n {
            out[row * n + column] = out[column * n + row];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normals;

    /// The published iteration, in f64.
    fn published(x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f64> {
        let transposed = |x: &[f64], [rows, columns]: [usize; 2]| -> Vec<f64> {
            (0..rows * columns).map(|at| x[at % rows * columns + at / rows]).collect()
        };
        let product = |a: &[f64], b: &[f64], [m, k, n]: [usize; 3]| -> Vec<f64> {
            let sum = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
            (0..m * n).map(sum).collect()
        };
        let [a, b, c] = ORTHOGONAL_QUINTIC.map(f64::from);
        let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x) / norm).collect();
        for _ in 0..ORTHOGONAL_STEPS {
            let across = transposed(&x, [rows, columns]);
            let gram = product(&x, &across, [rows, columns, rows]);
            let squared = product(&gram, &gram, [rows; 3]);
            let factor: Vec<f64> =
                gram.iter().zip(&squared).map(|(gram, squared)| b * gram + c * squared).collect();
            let change = product(&factor, &x, [rows, rows, columns]);
            x.iter_mut().zip(change).for_each(|(x, change)| *x = a * *x + change);
        }
        x
    }

    #[test]
    fn it_is_the_published_iteration_whatever_the_shape_and_the_scale() {
        for shape in [[1, 1], [3, 5], [5, 3], [40, 40], [33, 100], [100, 33], [1, 70]] {
            for scale in [1e-6, 1.0, 1e3] {
                let mut x = normals(1, shape[0] * shape[1]);
                x.iter_mut().for_each(|x| *x *= scale);
                let wanted = published(&x, shape);
                orthogonalise(&mut x, shape);
                for (x, wanted) in x.iter().zip(wanted) {
                    let off = (f64::from(*x) - wanted).abs();
                    assert!(off < 2e-4, "{shape:?} x {scale}: {x}, {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_few_directions_keeps_them_and_zeros_remain_zeros() {
        // Two directions of very different length, and no others.
        let (u, v) = (normals(1, 40), normals(2, 60));
        let (s, t) = (normals(3, 40), normals(4, 60));
        let element = |at: usize| u[at / 60] * v[at % 60] + 1e-3 * s[at / 60] * t[at % 60];
        let mut x: Vec<f32> = (0..40 * 60).map(element).collect();
        let wanted = published(&x, [40, 60]);
        orthogonalise(&mut x, [40, 60]);
        let off = x.iter().zip(wanted).map(|(x, wanted)| (f64::from(*x) - wanted).abs());
        assert!(off.fold(0.0, f64::max) < 1e-2);

        let mut zeros = vec![0.0; 12];
        orthogonalise(&mut zeros, [3, 4]);
        assert_eq!(zeros, [0.0; 12]);
        orthogonalise(&mut [], [0, 4]);
    }
}
