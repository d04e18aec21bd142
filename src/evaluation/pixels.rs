//! Pixelwise errors. Images may be in any range of width 1 (the program's [-0.5, 0.5] or [0, 1]): none of these metrics
//! depends on the offset. Nothing is clamped here; decoder output beyond the range counts as error.

use rayon::prelude::*;

/// PSNR of identical images, and the upper limit reported: a mean over images should not become infinite because one of
/// them is black. It corresponds to an MSE of 1e-10.
const PSNR_CEILING_DB: f64 = 100.0;

/// Mean squared error over all values. The slices must have the same length; 0 for empty ones.
pub(super) fn mse(originals: &[f32], reconstructions: &[f32]) -> f64 {
    assert_eq!(originals.len(), reconstructions.len(), "images of different size are compared");
    if originals.is_empty() {
        return 0.0;
    }
    let pairs = originals.iter().zip(reconstructions);
    let sum: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    sum / originals.len() as f64
}

/// [`mse`] of each image of `image_len` values.
pub fn mse_per_image(originals: &[f32], reconstructions: &[f32], image_len: usize) -> Vec<f64> {
    assert_eq!(originals.len(), reconstructions.len(), "images of different size are compared");
    assert!(
        image_len > 0 && originals.len().is_multiple_of(image_len),
        "{} values are not whole images of {image_len}",
        originals.len()
    );
    originals
        .par_chunks(image_len)
        .zip(reconstructions.par_chunks(image_len))
        .map(|(a, b)| mse(a, b))
        .collect()
}

/// Peak signal-to-noise ratio in dB of a mean squared error, for a data range of 1: `-10 log10(mse)`, at most
/// [`PSNR_CEILING_DB`]. For the MSE of a whole set this is lower than the reported PSNR, which is a mean over images.
pub fn psnr_db(mse: f64) -> f64 {
    // Not `min`, which would turn the NaN of a broken model into the best value.
    (-10.0 * mse.log10()).clamp(f64::NEG_INFINITY, PSNR_CEILING_DB)
}

/// Arithmetic mean; 0 for an empty slice.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// [`psnr_db`] of each image.
    fn psnr_db_per_image(originals: &[f32], reconstructions: &[f32], image_len: usize) -> Vec<f64> {
        mse_per_image(originals, reconstructions, image_len).into_iter().map(psnr_db).collect()
    }

    #[test]
    fn the_mean_squared_error_is_what_it_says() {
        assert_eq!(mse(&[0.0, 1.0, 0.5, 0.5], &[0.5, 0.5, 0.5, 0.0]), 0.1875);
        assert_eq!(mse(&[], &[]), 0.0);
    }

    #[test]
    fn an_error_of_a_tenth_everywhere_is_20_db() {
        let reconstruction = vec![0.1; 12];
        let psnr = psnr_db_per_image(&[0.0; 12], &reconstruction, 6);
        assert!(psnr.iter().all(|db| (db - 20.0).abs() < 1e-5), "{psnr:?}");
    }

    #[test]
    fn the_mean_of_psnrs_is_above_the_psnr_of_the_mean() {
        // MSE 0.01 and 0.0001: 20 and 40 dB, mean 30; from the mean MSE 0.00505: 22.97.
        let per_image = psnr_db_per_image(&[0.0, 0.0], &[0.1, 0.01], 1);
        assert!((mean(&per_image) - 30.0).abs() < 1e-5);
        assert!((psnr_db(mse(&[0.0, 0.0], &[0.1, 0.01])) - 22.967).abs() < 1e-3);
    }

    #[test]
    fn equal_images_have_the_highest_psnr_and_not_an_infinite_one() {
        assert_eq!(psnr_db_per_image(&[0.3; 4], &[0.3; 4], 2), [PSNR_CEILING_DB; 2]);
    }

    #[test]
    fn a_reconstruction_that_is_not_a_number_has_no_psnr() {
        assert!(psnr_db_per_image(&[0.3; 2], &[f32::NAN, 0.3], 2)[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "5 values are not whole images of 2")]
    fn half_an_image_is_a_broken_invariant() {
        mse_per_image(&[0.0; 5], &[0.0; 5], 2);
    }
}
