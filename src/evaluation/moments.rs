//! Mean and covariance of feature vectors, summed as they come: the memory is that of the covariance, however many there
//! are.

use rayon::prelude::*;

/// Sums over vectors, in f64.
#[derive(Debug, Clone)]
pub struct Moments {
    n_features: usize,
    n: usize,
    /// The first vector: without it, the sums of features far from 0 would lose their digits.
    origin: Vec<f64>,
    /// Of `x - origin`.
    sum: Vec<f64>,
    /// Of `(x - origin) (x - origin)^T`: in each row the entries from the diagonal on.
    products: Vec<f64>,
}

impl Moments {
    /// Of no vector yet.
    pub fn new(n_features: usize) -> Self {
        Self {
            n_features,
            n: 0,
            origin: Vec::new(),
            sum: vec![0.0; n_features],
            products: vec![0.0; n_features * n_features],
        }
    }

    /// Number of vectors.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of features of each.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Adds vectors.
    ///
    /// # Shapes
    /// - `vectors`: `[n, n_features]`
    pub fn add(&mut self, vectors: &[f32]) {
        let n_features = self.n_features;
        if self.origin.is_empty() {
            self.origin = vectors.iter().take(n_features).copied().map(f64::from).collect();
        }
        let origin = &self.origin;
        let shifted: Vec<f64> = vectors
            .chunks_exact(n_features)
            .flat_map(|vector| vector.iter().zip(origin).map(|(x, origin)| f64::from(*x) - origin))
            .collect(); // [n, n_features]
        for vector in shifted.chunks_exact(n_features) {
            self.sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
            self.n += 1;
        }
        // A row is summed by one thread, in the order of the vectors.
        self.products.par_chunks_exact_mut(n_features).enumerate().for_each(|(i, row)| {
            for vector in shifted.chunks_exact(n_features) {
                let x = vector[i];
                row[i..].iter_mut().zip(&vector[i..]).for_each(|(sum, y)| *sum += x * y);
            }
        });
    }

    /// The mean, `[n_features]`.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.n.max(1) as f64;
        self.origin.iter().zip(&self.sum).map(|(origin, sum)| origin + sum / n).collect()
    }

    /// The unbiased covariance, `[n_features, n_features]`; 0 for fewer than two vectors.
    pub fn covariance(&self) -> Vec<f64> {
        let n_features = self.n_features;
        let n = self.n.max(1) as f64;
        let mut covariance = vec![0.0; n_features * n_features];
        for i in 0..n_features {
            for j in i..n_features {
                let products = self.products[i * n_features + j];
                let value = (products - self.sum[i] * self.sum[j] / n) / (n - 1.0).max(1.0);
                covariance[i * n_features + j] = value;
                covariance[j * n_features + i] = value;
            }
        }
        covariance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_covariance_are_those_of_their_definition() {
        let mut moments = Moments::new(2);
        moments.add(&[1.0, 10.0, 3.0, 14.0]);
        moments.add(&[5.0, 12.0]);
        assert_eq!(moments.n(), 3);
        assert_eq!(moments.mean(), [3.0, 12.0]);
        // Deviations (-2, -2), (0, 2), (2, 0), over n - 1 = 2.
        assert_eq!(moments.covariance(), [4.0, 2.0, 2.0, 4.0]);
    }

    #[test]
    fn features_far_from_zero_keep_their_digits() {
        let mut moments = Moments::new(1);
        moments.add(&[1e6, 1e6 + 1.0, 1e6 + 2.0]);
        assert_eq!(moments.covariance(), [1.0]);
    }
}
