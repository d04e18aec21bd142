//! Structural similarity (Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural
//! Similarity") as scikit-image computes it with `gaussian_weights=True, sigma=1.5,
//! use_sample_covariance=False, data_range=1.0`: an 11x11 Gaussian window, K1 0.01, K2 0.03, population moments, and
//! the mean over the positions whose window lies inside the image (a border of 5 is left out), channels averaged.

use rayon::prelude::*;

/// Height and width of the window; smaller images have no SSIM.
pub(super) const SSIM_WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
/// (K1 * data range)^2 and (K2 * data range)^2.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// The shape of one image, `[height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl ImageShape {
    /// Number of values of an image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// SSIM of each image in -1..=1, or `None` where the images are smaller than the window in height or width. `black` is
/// the value of black: -0.5 for images in [-0.5, 0.5] and 0 for [0, 1]; unlike errors, SSIM depends on it.
///
/// # Shapes
/// `originals`, `reconstructions`: `[images, height, width, channels]`, both.
pub fn ssim_per_image(
    originals: &[f32],
    reconstructions: &[f32],
    shape: ImageShape,
    black: f32,
) -> Option<Vec<f64>> {
    assert_eq!(originals.len(), reconstructions.len(), "images of different size are compared");
    let image_len = shape.image_len();
    assert!(
        image_len > 0 && originals.len().is_multiple_of(image_len),
        "{} values are not whole images of {shape:?}",
        originals.len()
    );
    if shape.height < SSIM_WINDOW || shape.width < SSIM_WINDOW {
        return None;
    }
    let window = window();
    let per_image = originals
        .par_chunks(image_len)
        .zip(reconstructions.par_chunks(image_len))
        .map(|(a, b)| {
            let channels = 0..shape.channels;
            let sum: f64 = channels
                .map(|channel| {
                    let a = plane(a, shape.channels, channel, black);
                    let b = plane(b, shape.channels, channel, black);
                    ssim_of_plane(&a, &b, shape.width, &window)
                })
                .sum();
            sum / shape.channels as f64
        })
        .collect();
    Some(per_image)
}

/// The one-dimensional Gaussian, normalised; the window is its outer product with itself.
fn window() -> [f64; SSIM_WINDOW] {
    let middle = (SSIM_WINDOW / 2) as f64;
    let weights: [f64; SSIM_WINDOW] =
        std::array::from_fn(|i| (-(i as f64 - middle).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// One channel, with black at 0.
fn plane(image: &[f32], channels: usize, channel: usize, black: f32) -> Vec<f64> {
    let values = image.iter().skip(channel).step_by(channels);
    values.map(|value| f64::from(*value) - f64::from(black)).collect()
}

fn ssim_of_plane(a: &[f64], b: &[f64], width: usize, window: &[f64; SSIM_WINDOW]) -> f64 {
    let product =
        |x: &[f64], y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x * y).collect() };
    let smooth = |values: &[f64]| convolve(values, width, window);
    let (mean_a, mean_b) = (smooth(a), smooth(b));
    let (aa, bb, ab) = (smooth(&product(a, a)), smooth(&product(b, b)), smooth(&product(a, b)));
    let n = mean_a.len();
    let sum: f64 = (0..n)
        .map(|i| {
            let (ua, ub) = (mean_a[i], mean_b[i]);
            let (variance_a, variance_b) = (aa[i] - ua * ua, bb[i] - ub * ub);
            let covariance = ab[i] - ua * ub;
            let numerator = (2.0 * ua * ub + C1) * (2.0 * covariance + C2);
            numerator / ((ua * ua + ub * ub + C1) * (variance_a + variance_b + C2))
        })
        .sum();
    sum / n as f64
}

/// The window over rows, then over columns, where it lies inside the image.
fn convolve(values: &[f64], width: usize, window: &[f64; SSIM_WINDOW]) -> Vec<f64> {
    let weigh = |part: &[f64]| -> f64 { part.iter().zip(window).map(|(v, w)| v * w).sum() };
    let rows: Vec<f64> =
        values.chunks_exact(width).flat_map(|row| row.windows(SSIM_WINDOW).map(weigh)).collect(); // [height, width - 10]
    let width = width - SSIM_WINDOW + 1;
    let height = rows.len() / width - SSIM_WINDOW + 1;
    let mut smooth = vec![0.0; height * width]; // [height - 10, width - 10]
    for (row, line) in smooth.chunks_exact_mut(width).enumerate() {
        for (offset, weight) in window.iter().enumerate() {
            let source = &rows[(row + offset) * width..][..width];
            line.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    smooth
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 13, width: 16, channels: 3 };

    /// Integers modulo small primes: the same in any language.
    fn pattern(factor: usize, modulus: usize) -> Vec<f32> {
        let n = SHAPE.image_len();
        (0..n).map(|i| ((i * factor) % modulus) as f32 / (modulus - 1) as f32).collect()
    }

    #[test]
    fn an_image_is_entirely_similar_to_itself() {
        let image = pattern(7, 31);
        let ssim = ssim_per_image(&image, &image, SHAPE, 0.0).unwrap();
        assert!((ssim[0] - 1.0).abs() < 1e-12, "{ssim:?}");
    }

    #[test]
    fn two_flat_images_differ_by_their_means_alone() {
        // (2 * 0.2 * 0.6 + C1) / (0.2^2 + 0.6^2 + C1) = 0.2401 / 0.4001
        let (a, b) = (vec![0.2; SHAPE.image_len()], vec![0.6; SHAPE.image_len()]);
        let ssim = ssim_per_image(&a, &b, SHAPE, 0.0).unwrap();
        assert!((ssim[0] - 0.2401 / 0.4001).abs() < 1e-6, "{ssim:?}");
    }

    #[test]
    fn it_is_the_number_of_scikit_image() {
        // scikit-image 0.26.0, structural_similarity(a, b, gaussian_weights=True, sigma=1.5,
        // use_sample_covariance=False, data_range=1.0, channel_axis=2) of the float64 values of `pattern`.
        let (a, b) = (pattern(7, 31), pattern(7, 29));
        let ssim = ssim_per_image(&a, &b, SHAPE, 0.0).unwrap();
        assert!((ssim[0] - 0.030300051972510705).abs() < 1e-6, "{ssim:?}");
        let b: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.75 * a + 0.25 * b).collect();
        let ssim = ssim_per_image(&a, &b, SHAPE, 0.0).unwrap();
        assert!((ssim[0] - 0.9248120897443387).abs() < 1e-6, "{ssim:?}");
    }

    #[test]
    fn the_value_of_black_is_taken_into_account() {
        let (a, b) = (pattern(7, 31), pattern(5, 29));
        let shift = |image: &[f32]| image.iter().map(|value| value - 0.5).collect::<Vec<_>>();
        let plain = ssim_per_image(&a, &b, SHAPE, 0.0).unwrap()[0];
        let shifted = ssim_per_image(&shift(&a), &shift(&b), SHAPE, -0.5).unwrap()[0];
        assert!((plain - shifted).abs() < 1e-6, "{plain} {shifted}");
    }

    #[test]
    fn every_image_is_compared_with_its_own_reconstruction() {
        let (a, b) = (pattern(7, 31), pattern(5, 29));
        let pair = |x: &[f32], y: &[f32]| [x, y].concat();
        let ssim = ssim_per_image(&pair(&a, &b), &pair(&a, &a), SHAPE, 0.0).unwrap();
        assert!((ssim[0] - 1.0).abs() < 1e-12);
        assert_eq!(ssim[1], ssim_per_image(&b, &a, SHAPE, 0.0).unwrap()[0]);
    }

    #[test]
    fn images_smaller_than_the_window_have_no_ssim() {
        let shape = ImageShape { height: 10, width: 30, channels: 1 };
        let image = vec![0.0; shape.image_len()];
        assert_eq!(ssim_per_image(&image, &image, shape, 0.0), None);
        let shape = ImageShape { height: 11, width: 11, channels: 1 };
        let image = vec![0.0; shape.image_len()];
        assert_eq!(ssim_per_image(&image, &image, shape, 0.0).unwrap().len(), 1);
    }
}
