//! Nearest neighbours in the space of features: which training image a sample is most like, and whether samples are
//! copies.

use rayon::prelude::*;

/// The nearest of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    /// Its place in the set.
    pub index: usize,
    /// Its Euclidean distance.
    pub distance: f64,
}

/// Feature vectors of images, which may be there in several views: first all images in one, then all in the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeatureViews<'a> {
    /// `[views * n_images, n_features]`.
    pub vectors: &'a [f32],
    /// Images, whatever the number of views.
    pub n_images: usize,
    /// Length of a vector.
    pub n_features: usize,
}

impl FeatureViews<'_> {
    /// The nearest vector to each of `queries`, `[n, n_features]`; the first of equally near ones. Empty for no images.
    pub(crate) fn nearest(&self, queries: &[f32]) -> Vec<Neighbour> {
        let queries = queries.par_chunks_exact(self.n_features);
        queries.filter_map(|query| self.nearest_except(query, None)).collect()
    }

    /// The distance from the first view of each of the `images` to the nearest view of another image.
    pub(crate) fn distances_within(&self, images: &[usize]) -> Vec<f64> {
        let found = images.par_iter().filter_map(|image| {
            let query = &self.vectors[image * self.n_features..(image + 1) * self.n_features];
            self.nearest_except(query, Some(*image))
        });
        found.map(|neighbour| neighbour.distance).collect()
    }

    fn nearest_except(&self, query: &[f32], except: Option<usize>) -> Option<Neighbour> {
        let vectors = self.vectors.chunks_exact(self.n_features).enumerate();
        let others = vectors.filter(|(index, _)| Some(index % self.n_images) != except);
        let squares = others.map(|(index, vector)| {
            // Not from the products: vectors that are nearly equal would lose their distance to rounding.
            let square: f64 = query.iter().zip(vector).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            (index, square)
        });
        let (index, square) = squares.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Neighbour { index, distance: square.sqrt() })
    }
}

/// The share of `distances` below the median of `usual`, equal ones counted by half; `None` where either is empty.
///
/// Of distances from the same distribution it is one half; of copies it approaches 1.
pub(crate) fn share_nearer(distances: &[f64], usual: &[f64]) -> Option<f64> {
    let mut usual = usual.to_vec();
    usual.sort_by(f64::total_cmp);
    let (middle, odd) = (usual.len() / 2, usual.len() % 2 == 1);
    let upper = *usual.get(middle)?;
    let median = if odd { upper } else { (usual[middle - 1] + upper) / 2.0 };
    let score = |distance: &f64| match distance.partial_cmp(&median) {
        Some(std::cmp::Ordering::Less) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let sum: f64 = distances.iter().map(score).sum();
    (!distances.is_empty()).then(|| sum / distances.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_and_a_vector_is_not_its_own() {
        let vectors = [0.0, 0.0, 3.0, 4.0, 0.0, 1.0];
        let set = FeatureViews { vectors: &vectors, n_images: 3, n_features: 2 };
        let found = set.nearest(&[0.0, 0.6, 3.0, 4.0]);
        let indices: Vec<_> = found.iter().map(|neighbour| neighbour.index).collect();
        assert_eq!(indices, [2, 1]);
        assert_eq!(found[1].distance, 0.0);
        assert_eq!(set.distances_within(&[0, 1]), [1.0, 18f64.sqrt()]);
        let alone = FeatureViews { vectors: &vectors[..2], n_images: 1, n_features: 2 };
        assert!(alone.distances_within(&[0]).is_empty());
    }

    #[test]
    fn another_view_of_an_image_is_not_another_image() {
        // Two images at 0 and 5, and their mirror images at 1 and 7.
        let set = FeatureViews { vectors: &[0.0, 5.0, 1.0, 7.0], n_images: 2, n_features: 1 };
        assert_eq!(set.distances_within(&[0, 1]), [5.0, 4.0]);
        assert_eq!(set.nearest(&[6.5])[0].index, 3);
    }

    #[test]
    fn copies_are_nearer_than_images_are_to_each_other_and_others_are_not() {
        let usual = [1.0, 2.0, 3.0];
        assert_eq!(share_nearer(&[0.0; 4], &usual), Some(1.0));
        assert_eq!(share_nearer(&[9.0; 4], &usual), Some(0.0));
        assert_eq!(share_nearer(&usual, &usual), Some(0.5));
        assert_eq!(share_nearer(&[2.4, 2.6], &[1.0, 2.0, 3.0, 4.0]), Some(0.5));
        assert_eq!(share_nearer(&[], &usual), None);
        assert_eq!(share_nearer(&usual, &[]), None);
    }
}
