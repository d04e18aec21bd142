//! The Fréchet distance between the Gaussians of two sets of feature vectors (Dowson and Landau 1982), which Heusel et
//! al. 2017 took for images: `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`.
//!
//! The trace of the root is the sum of the roots of the eigenvalues of `C1 C2`. With `C1 = L L^T` they are those of the
//! symmetric `L^T C2 L`, of which there are no more than the rank of `C1`: as many as the smaller set has vectors, less
//! one. No root of a singular matrix is taken, and nothing has to be added to its diagonal.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::Moments;
use super::dot::dot;

/// The squared Fréchet distance, as published values of FID are. It is biased: the fewer vectors, the larger it is even
/// between sets of one distribution, so that only values of the same numbers of vectors can be compared.
///
/// Takes `n_features^2` numbers of memory a few times, and time of the order of `n_features^2` times the rank.
pub fn frechet_distance(a: &Moments, b: &Moments) -> f64 {
    assert_eq!(a.n_features(), b.n_features(), "vectors of different nets are compared");
    // The one of lower rank is factored.
    let (a, b) = if a.n() <= b.n() { (a, b) } else { (b, a) };
    let n_features = a.n_features();
    let (mean_a, mean_b) = (a.mean(), b.mean());
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let (covariance_a, covariance_b) = (a.covariance(), b.covariance());
    let traces = trace(&covariance_a, n_features) + trace(&covariance_b, n_features);
    let root = trace_of_root(&covariance_a, &covariance_b, n_features);
    means + traces - 2.0 * root
}

fn trace(matrix: &[f64], n: usize) -> f64 {
    matrix.iter().step_by(n + 1).sum()
}

/// The trace of `(C1 C2)^(1/2)`.
fn trace_of_root(c1: &[f64], c2: &[f64], n: usize) -> f64 {
    let columns = factor(c1, n); // L^T, [rank, n]
    let rank = columns.len();
    if rank == 0 {
        return 0.0;
    }
    let product: Vec<f64> = columns
        .par_iter()
        .flat_map_iter(|column| c2.chunks_exact(n).map(move |row| dot(row, column)))
        .collect(); // L^T C2, [rank, n]
    let symmetric: Vec<f64> = product
        .par_chunks_exact(n)
        .flat_map_iter(|row| columns.iter().map(move |column| dot(row, column)))
        .collect(); // L^T C2 L, [rank, rank]
    let symmetric = DMatrix::from_row_slice(rank, rank, &symmetric);
    let symmetric = (&symmetric + symmetric.transpose()) * 0.5;
    symmetric.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).sum()
}

/// The columns of `L` with `C = L L^T`, by Cholesky's method with the largest remaining diagonal entry as the pivot, until
/// what remains is rounding. Entries are in the original order of rows.
fn factor(matrix: &[f64], n: usize) -> Vec<Vec<f64>> {
    let mut left: Vec<f64> = matrix.iter().step_by(n + 1).copied().collect();
    let largest = left.iter().copied().fold(0.0, f64::max);
    let rounding = largest * n as f64 * f64::EPSILON;
    // Rows of L, so that the sum over the columns so far is one over a slice.
    let mut rows = vec![0.0; n * n];
    let mut rank = 0;
    while rank < n {
        let by_size = |a: &usize, b: &usize| left[*a].total_cmp(&left[*b]);
        let Some(pivot) = (0..n).max_by(by_size) else { break };
        if left[pivot].is_nan() || left[pivot] <= rounding {
            break;
        }
        let root = left[pivot].sqrt();
        let of_pivot = rows[pivot * n..pivot * n + rank].to_vec();
        rows.par_chunks_exact_mut(n).zip(left.par_iter_mut()).enumerate().for_each(
            |(i, (row, left))| {
                let value = (matrix[i * n + pivot] - dot(&row[..rank], &of_pivot)) / root;
                row[rank] = value;
                *left -= value * value;
            },
        );
        // Exactly, so that rounding does not choose it again.
        left[pivot] = 0.0;
        rank += 1;
    }
    (0..rank).map(|column| rows.iter().skip(column).step_by(n).copied().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(n_features: usize, vectors: &[f32]) -> Moments {
        let mut moments = Moments::new(n_features);
        moments.add(vectors);
        moments
    }

    #[test]
    fn one_feature_gives_the_difference_of_means_and_deviations() {
        // Means 1 and 5, variances 2 and 8: (1 - 5)^2 + (sqrt 2 - sqrt 8)^2.
        let distance = frechet_distance(&moments(1, &[0.0, 2.0]), &moments(1, &[3.0, 7.0]));
        assert!((distance - 18.0).abs() < 1e-12, "{distance}");
    }

    #[test]
    fn a_set_has_no_distance_from_itself_also_where_it_is_smaller_than_its_vectors() {
        let values: Vec<f32> = (0..5 * 12).map(|i| (i * i % 17) as f32).collect();
        let set = moments(12, &values);
        let distance = frechet_distance(&set, &set);
        assert!(distance.abs() < 1e-6 * trace(&set.covariance(), 12), "{distance}");
    }

    #[test]
    fn constant_features_and_single_images_leave_the_distance_of_means() {
        let (a, b) = (moments(2, &[1.0, 1.0, 1.0, 1.0]), moments(2, &[1.0, 4.0]));
        assert_eq!(frechet_distance(&a, &b), 9.0);
    }

    #[test]
    fn the_factor_is_one_and_stops_at_the_rank() {
        // Of rank 2.
        let vectors = [[1.0, 2.0, 3.0], [2.0, -1.0, 0.5]];
        let matrix: Vec<f64> = (0..9)
            .map(|at| vectors.iter().map(|vector| vector[at / 3] * vector[at % 3]).sum())
            .collect();
        let columns = factor(&matrix, 3);
        assert_eq!(columns.len(), 2);
        for at in 0..9 {
            let product: f64 = columns.iter().map(|c| c[at / 3] * c[at % 3]).sum();
            assert!((product - matrix[at]).abs() < 1e-12, "{at}");
        }
    }

    #[test]
    fn features_that_are_no_numbers_show() {
        let broken = moments(2, &[f32::NAN, 1.0, 2.0, 3.0]);
        assert!(frechet_distance(&broken, &moments(2, &[1.0, 2.0, 3.0, 5.0])).is_nan());
    }
}
