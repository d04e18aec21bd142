//! What is kept of a set of images to compare it with another: the moments of their features, some of the features
//! themselves, and patches. The memory does not grow with the number of images beyond a bound.

use super::{ImageShape, Moments, Patches, frechet_distance, kernel_distance, sliced_wasserstein};

/// Most vectors that are kept for the kernel distance, which compares all pairs: evenly spaced over a larger set.
const MOST_KEPT: usize = 5_000;

/// Feature vectors of one net.
#[derive(Debug, Clone)]
pub(crate) struct FeatureSet {
    moments: Moments,
    kept: Vec<f32>,
    /// One vector in so many is kept.
    every: usize,
}

impl FeatureSet {
    /// Of a set that will have `n_images`.
    pub(crate) fn new(n_images: usize, n_features: usize) -> Self {
        let every = n_images.div_ceil(MOST_KEPT).max(1);
        Self { moments: Moments::new(n_features), kept: Vec::new(), every }
    }

    /// Adds vectors.
    ///
    /// # Shapes
    /// - `vectors`: `[n, n_features]`
    pub(crate) fn add(&mut self, vectors: &[f32]) {
        let seen = self.moments.n();
        let rows = vectors.chunks_exact(self.moments.n_features()).enumerate();
        let kept = rows.filter(|(i, _)| (seen + i).is_multiple_of(self.every));
        self.kept.extend(kept.flat_map(|(_, vector)| vector));
        self.moments.add(vectors);
    }

    /// The vectors that were kept, `[kept, n_features]`: all of up to [`MOST_KEPT`].
    pub(crate) fn kept(&self) -> &[f32] {
        &self.kept
    }

    fn distances(&self, other: &Self) -> FeatureDistances {
        let has_moments = self.moments.n() > 1 && other.moments.n() > 1;
        FeatureDistances {
            frechet: has_moments.then(|| frechet_distance(&self.moments, &other.moments)),
            kernel: kernel_distance(&self.kept, &other.kept, self.moments.n_features()),
        }
    }
}

/// Distances between two sets by the features of one net; `None` where a set has fewer than two images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FeatureDistances {
    /// See [`frechet_distance`].
    pub frechet: Option<f64>,
    /// See [`kernel_distance`].
    pub kernel: Option<f64>,
}

/// A set of images.
#[derive(Debug, Clone)]
pub(crate) struct ImageSet {
    /// By the built-in net.
    pub builtin: FeatureSet,
    /// By Inception, where it is asked.
    pub inception: Option<FeatureSet>,
    patches: Option<Patches>,
}

/// Distances between two sets of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SetDistances {
    /// By the built-in net.
    pub builtin: FeatureDistances,
    /// By Inception, where it was asked.
    pub inception: Option<FeatureDistances>,
    /// See [`sliced_wasserstein`]; `None` for images smaller than a patch.
    pub sliced: Option<f64>,
}

impl ImageSet {
    /// Of a set that will have `n_images`, and whose features have these lengths.
    pub(crate) fn new(
        n_images: usize,
        shape: ImageShape,
        builtin: usize,
        inception: Option<usize>,
    ) -> Self {
        Self {
            builtin: FeatureSet::new(n_images, builtin),
            inception: inception.map(|n_features| FeatureSet::new(n_images, n_features)),
            patches: Patches::new(n_images, shape),
        }
    }

    /// Adds the patches of u8 images.
    pub(super) fn add_patches(&mut self, images: &[u8]) {
        if let Some(patches) = &mut self.patches {
            patches.add(images);
        }
    }

    /// The distances from another set.
    pub(crate) fn distances(&self, other: &Self) -> SetDistances {
        let both = self.inception.as_ref().zip(other.inception.as_ref());
        let patches = self.patches.as_ref().zip(other.patches.as_ref());
        SetDistances {
            builtin: self.builtin.distances(&other.builtin),
            inception: both.map(|(own, other)| own.distances(other)),
            sliced: patches.and_then(|(own, other)| Some(sliced_wasserstein(own, other)?.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_kept_evenly_up_to_a_bound_however_they_come() {
        let mut set = FeatureSet::new(2 * MOST_KEPT, 1);
        for part in (0..9).map(|i| i as f32).collect::<Vec<_>>().chunks(2) {
            set.add(part);
        }
        assert_eq!(set.kept(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(set.moments.n(), 9);
        for n in [1, MOST_KEPT, MOST_KEPT + 1, 123_456] {
            assert!(n.div_ceil(FeatureSet::new(n, 1).every) <= MOST_KEPT, "{n}");
        }
    }

    #[test]
    fn one_image_has_no_distribution() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let set = |n: usize| {
            let mut set = ImageSet::new(n, shape, 2, None);
            set.builtin.add(&vec![0.5; 2 * n]);
            set.add_patches(&vec![3; 64 * n]);
            set
        };
        let distances = set(1).distances(&set(3));
        assert_eq!(distances.builtin, FeatureDistances { frechet: None, kernel: None });
        assert_eq!((distances.inception, distances.sliced), (None, Some(0.0)));
        assert_eq!(set(2).distances(&set(3)).builtin.frechet, Some(0.0));
    }
}
