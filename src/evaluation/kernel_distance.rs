//! The kernel inception distance (Bińkowski et al. 2018, "Demystifying MMD GANs"): the unbiased estimate of the squared
//! maximum mean discrepancy with the kernel `(x·y / n_features + 1)^3`, over all pairs of vectors. It is what torchmetrics
//! and clean-fid compute with one subset of all images; they average over random subsets, which adds noise and no bias.

use rayon::prelude::*;

use super::dot::dot_f32;

/// The estimate; it does not grow when there are fewer vectors, and may be negative where the sets are alike. `None` with
/// fewer than two vectors in either set.
///
/// # Shapes
/// - `a`: `[n, n_features]`; `b`: `[m, n_features]`
pub fn kernel_distance(a: &[f32], b: &[f32], n_features: usize) -> Option<f64> {
    let (n, m) = (a.len() / n_features, b.len() / n_features);
    if n < 2 || m < 2 {
        return None;
    }
    let (n, m) = (n as f64, m as f64);
    let within_a = off_diagonal(a, n_features) / (n * (n - 1.0));
    let within_b = off_diagonal(b, n_features) / (m * (m - 1.0));
    let across = rows(a, n_features, |_, x| b.chunks_exact(n_features).map(|y| kernel(x, y)).sum());
    Some(within_a + within_b - 2.0 * across / (n * m))
}

fn kernel(x: &[f32], y: &[f32]) -> f64 {
    (dot_f32(x, y) / x.len() as f64 + 1.0).powi(3)
}

/// The sum of the kernel over all pairs of different vectors of a set.
fn off_diagonal(set: &[f32], n_features: usize) -> f64 {
    2.0 * rows(set, n_features, |i, x| {
        set.chunks_exact(n_features).skip(i + 1).map(|y| kernel(x, y)).sum()
    })
}

/// The sum of `of_row` over the vectors, in their order.
fn rows(set: &[f32], n_features: usize, of_row: impl Fn(usize, &[f32]) -> f64 + Sync) -> f64 {
    let sums: Vec<f64> =
        set.par_chunks_exact(n_features).enumerate().map(|(i, x)| of_row(i, x)).collect();
    sums.iter().sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_and_two_vectors_give_the_hand_worked_value() {
        // Kernels of one feature: k(x, y) = (x y + 1)^3. Within a: k(0, 1) = 1; within b: k(1, 2) = 27;
        // across: k(0, 1) + k(0, 2) + k(1, 1) + k(1, 2) = 1 + 1 + 8 + 27.
        let distance = kernel_distance(&[0.0, 1.0], &[1.0, 2.0], 1).unwrap();
        assert_eq!(distance, 1.0 + 27.0 - 2.0 * 37.0 / 4.0);
    }

    #[test]
    fn one_vector_says_nothing_about_its_distribution() {
        assert_eq!(kernel_distance(&[1.0], &[1.0, 2.0], 1), None);
    }
}
