//! The sliced Wasserstein distance between the patches of two sets of images (Karras et al. 2018, "Progressive Growing of
//! GANs", section 5 and its code): no net, only how their local structure is distributed, at each scale.
//!
//! From each level of each image's Laplacian pyramid, patches of 7x7 pixels and 3 channels are taken at random places.
//! Each channel of a level is brought to mean 0 and deviation 1 over all patches of a set. All patches are projected on
//! 512 random directions; along each the distance is that of the sorted projections. The result is the mean over the
//! directions, times 1,000; smaller is better, and 0 is a set from itself.
//!
//! In detail: the levels are those whose height and width are at least 16, halved while both are even; of smaller images
//! the image itself. A set gives 128 patches an image and level, or as many less as keeps a level at 65,536 (of more
//! images than that, every second, third … one gives a patch). The places of image `i` come from the stream `(0, Patches,
//! level, i)`, a column and a row for each patch in turn, the same for every set; direction `j`, 147 normal numbers (the
//! channel first, then row and column of the patch) divided by their norm, comes from `(0, Directions, 0, j)`. Sets
//! of different sizes are compared by the distance between their quantile functions. Grey images become colour.

use rayon::prelude::*;

use super::ImageShape;
use super::laplacian::{Plane, pyramid};
use crate::rng::{Purpose, stream};

/// Height and width of a patch.
const PATCH: usize = 7;
/// Numbers of a patch: `[3, PATCH, PATCH]`.
const PATCH_LEN: usize = 3 * PATCH * PATCH;
/// The coarsest level is at least this high and wide.
const SMALLEST_LEVEL: usize = 16;
const PATCHES_PER_IMAGE: usize = 128;
/// Most patches of a level of a set: 38 MB.
const MOST_PATCHES: usize = 65_536;
const DIRECTIONS: u64 = 512;
/// As Karras et al. report it.
const SCALE: f64 = 1e3;

/// The patches of a set of images, taken as they come.
#[derive(Debug, Clone)]
pub struct Patches {
    shape: ImageShape,
    per_image: usize,
    /// One in so many images gives patches.
    every: usize,
    seen: usize,
    /// Of each level, `[patches, PATCH_LEN]`.
    levels: Vec<Vec<f32>>,
}

impl Patches {
    /// Of a set that will have `n_images`; `None` for images smaller than a patch.
    pub fn new(n_images: usize, shape: ImageShape) -> Option<Self> {
        let ImageShape { mut height, mut width, .. } = shape;
        if height.min(width) < PATCH {
            return None;
        }
        let mut n_levels = 1;
        while height % 2 == 0 && width % 2 == 0 && height.min(width) >= 2 * SMALLEST_LEVEL {
            (height, width) = (height / 2, width / 2);
            n_levels += 1;
        }
        Some(Self {
            shape,
            per_image: (MOST_PATCHES / n_images.max(1)).clamp(1, PATCHES_PER_IMAGE),
            every: n_images.div_ceil(MOST_PATCHES).max(1),
            seen: 0,
            levels: vec![Vec::new(); n_levels],
        })
    }

    /// Adds images.
    ///
    /// # Shapes
    /// - `images`: u8 `[n, height, width, channels]`
    pub fn add(&mut self, images: &[u8]) {
        let n_levels = self.levels.len();
        let first = self.seen;
        let (shape, per_image, every) = (self.shape, self.per_image, self.every);
        let taken: Vec<Vec<Vec<f32>>> = images
            .par_chunks_exact(shape.image_len())
            .enumerate()
            .filter(|(i, _)| (first + i).is_multiple_of(every))
            .map(|(i, image)| of_image(image, shape, n_levels, per_image, (first + i) as u64))
            .collect();
        self.seen += images.len() / shape.image_len();
        for image in taken {
            for (level, patches) in self.levels.iter_mut().zip(image) {
                level.extend(patches);
            }
        }
    }
}

/// The patches of each level of an image.
fn of_image(
    image: &[u8],
    shape: ImageShape,
    n_levels: usize,
    per_image: usize,
    index: u64,
) -> Vec<Vec<f32>> {
    let ImageShape { height, width, channels } = shape;
    let plane = |channel: usize| {
        let values = image.iter().skip(channel % channels).step_by(channels);
        Plane { height, width, values: values.copied().map(f32::from).collect() }
    };
    let channels: Vec<Vec<Plane>> =
        (0..3).map(|channel| pyramid(plane(channel), n_levels)).collect();
    let of_level = |level: usize| {
        let mut places = stream(0, Purpose::Patches, level as u64, index);
        let Plane { height, width, .. } = channels[0][level];
        let mut patches = Vec::with_capacity(per_image * PATCH_LEN);
        for _ in 0..per_image {
            let left = places.below(width - PATCH + 1);
            let top = places.below(height - PATCH + 1);
            for channel in &channels {
                for row in top..top + PATCH {
                    patches.extend(&channel[level].values[row * width + left..][..PATCH]);
                }
            }
        }
        patches
    };
    (0..n_levels).map(of_level).collect()
}

/// The distance between two sets: the mean over the levels, and each level, the finest first. `None` where a set is empty
/// or their images differ in size.
pub fn sliced_wasserstein(a: &Patches, b: &Patches) -> Option<(f64, Vec<f64>)> {
    let size = |set: &Patches| (set.shape.height, set.shape.width);
    if size(a) != size(b) || a.levels[0].is_empty() || b.levels[0].is_empty() {
        return None;
    }
    let directions = directions();
    let levels = a.levels.iter().zip(&b.levels);
    let levels: Vec<f64> = levels
        .map(|(a, b)| SCALE * distance(&normalised(a), &normalised(b), &directions))
        .collect();
    Some((levels.iter().sum::<f64>() / levels.len() as f64, levels))
}

/// Unit vectors, `[DIRECTIONS, PATCH_LEN]`.
fn directions() -> Vec<[f32; PATCH_LEN]> {
    let direction = |index| {
        let mut normal = stream(0, Purpose::Directions, 0, index);
        let values: [f32; PATCH_LEN] = std::array::from_fn(|_| normal.normal());
        let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        values.map(|value| (f64::from(value) / norm) as f32)
    };
    (0..DIRECTIONS).map(direction).collect()
}

/// Patches with mean 0 and deviation 1 in each channel; a channel that is constant becomes 0.
fn normalised(patches: &[f32]) -> Vec<f32> {
    const AREA: usize = PATCH * PATCH;
    let values = |channel: usize| {
        let of_patch = move |patch: &'_ [f32]| patch[channel * AREA..(channel + 1) * AREA].to_vec();
        patches.chunks_exact(PATCH_LEN).flat_map(of_patch).map(f64::from)
    };
    let moments = [0, 1, 2].map(|channel| {
        let n = (patches.len() / 3) as f64;
        let mean = values(channel).sum::<f64>() / n;
        let variance = values(channel).map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
        (mean as f32, scale as f32)
    });
    let moment_of = |at: usize| moments[at % PATCH_LEN / AREA];
    let normalise = |(at, value): (usize, &f32)| {
        let (mean, scale) = moment_of(at);
        (value - mean) * scale
    };
    patches.par_iter().enumerate().map(normalise).collect()
}

/// The mean over the directions of the distance between the projections of two sets of patches.
fn distance(a: &[f32], b: &[f32], directions: &[[f32; PATCH_LEN]]) -> f64 {
    let distances: Vec<f64> = directions
        .par_iter()
        .map(|direction| wasserstein(&projected(a, direction), &projected(b, direction)))
        .collect();
    distances.iter().sum::<f64>() / distances.len() as f64
}

/// The projections of patches on a direction, sorted.
fn projected(patches: &[f32], direction: &[f32; PATCH_LEN]) -> Vec<f32> {
    let (patches, _) = patches.as_chunks::<PATCH_LEN>();
    let mut projections: Vec<f32> = patches.iter().map(|patch| dot(patch, direction)).collect();
    projections.sort_unstable_by(f32::total_cmp);
    projections
}

fn dot(a: &[f32; PATCH_LEN], b: &[f32; PATCH_LEN]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The first Wasserstein distance between two sorted samples: the area between their quantile functions.
fn wasserstein(a: &[f32], b: &[f32]) -> f64 {
    let gap = |i: usize, j: usize| (f64::from(a[i]) - f64::from(b[j])).abs();
    let (n, m) = (a.len(), b.len());
    if n == m {
        return (0..n).map(|i| gap(i, i)).sum::<f64>() / n as f64;
    }
    // Shares of the whole in parts of 1 / (n m).
    let (mut i, mut j, mut done, mut area) = (0, 0, 0, 0.0);
    while i < n && j < m {
        let (next_a, next_b) = ((i + 1) * m, (j + 1) * n);
        let next = next_a.min(next_b);
        area += gap(i, j) * (next - done) as f64;
        done = next;
        i += usize::from(next == next_a);
        j += usize::from(next == next_b);
    }
    area / (n as f64 * m as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };

    fn patches(n: usize, shape: ImageShape, pixel: impl Fn(usize) -> u8) -> Patches {
        let mut patches = Patches::new(n, shape).unwrap();
        let images: Vec<u8> = (0..n * shape.image_len()).map(pixel).collect();
        let (first, rest) = images.split_at(shape.image_len());
        patches.add(first);
        patches.add(rest);
        patches
    }

    #[test]
    fn sorted_samples_are_as_far_apart_as_their_quantiles() {
        assert_eq!(wasserstein(&[0.0, 1.0], &[1.0, 3.0]), 1.5);
        // 0 against the quantiles 1, 2, 3, in thirds.
        assert_eq!(wasserstein(&[0.0], &[1.0, 2.0, 3.0]), 2.0);
        // [0, 6] against [0, 3, 6]: a third at 0, a sixth between 0 and 3, a sixth between 6 and 3, a third at 0.
        assert_eq!(wasserstein(&[0.0, 6.0], &[0.0, 3.0, 6.0]), 1.0);
    }

    #[test]
    fn a_set_has_no_distance_from_itself_and_a_blurred_one_has() {
        let sharp = patches(5, SHAPE, |i| (i * i % 251) as u8);
        let (mean, levels) = sliced_wasserstein(&sharp, &sharp).unwrap();
        assert_eq!((mean, levels), (0.0, vec![0.0; 2]));
        let striped = patches(5, SHAPE, |i| (i / 3 % 8 * 30) as u8);
        assert!(sliced_wasserstein(&sharp, &striped).unwrap().0 > 50.0);
    }

    #[test]
    fn the_same_images_more_often_are_the_same_set() {
        // Every image of the larger set is one of the smaller; only the places of the patches differ.
        let image = |i: usize| (i % SHAPE.image_len() * 31 % 251) as u8;
        let (few, many) = (patches(8, SHAPE, image), patches(24, SHAPE, image));
        let other = patches(8, SHAPE, |i| (i % SHAPE.image_len() * 17 % 13 * 19) as u8);
        let near = sliced_wasserstein(&few, &many).unwrap().0;
        let far = sliced_wasserstein(&few, &other).unwrap().0;
        assert!(near < far / 5.0, "{near} {far}");
    }

    #[test]
    fn levels_end_at_16_pixels_and_at_odd_sizes_and_tiny_images_have_none() {
        let levels = |size| {
            let shape = ImageShape { height: size, width: size, channels: 1 };
            Patches::new(1, shape).map(|patches| patches.levels.len())
        };
        assert_eq!(
            [6, 7, 16, 28, 32, 50, 224].map(levels),
            [None, Some(1), Some(1), Some(1), Some(2), Some(2), Some(4)]
        );
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_images() {
        let shape = ImageShape { height: 7, width: 7, channels: 1 };
        for n in [1, 512, 513, 65_536, 65_537, 1_000_000] {
            let patches = Patches::new(n, shape).unwrap();
            assert!(n.div_ceil(patches.every) * patches.per_image <= MOST_PATCHES, "{n}");
        }
        let mut many = Patches::new(65_537, shape).unwrap();
        many.add(&[0; 5 * 49]);
        many.add(&[0; 4 * 49]);
        assert_eq!(many.levels[0].len(), 5 * PATCH_LEN); // images 0, 2, 4, 6, 8
    }

    #[test]
    fn constant_images_are_alike() {
        let (a, b) = (patches(2, SHAPE, |_| 7), patches(2, SHAPE, |_| 9));
        assert_eq!(sliced_wasserstein(&a, &b).unwrap().0, 0.0);
    }
}
