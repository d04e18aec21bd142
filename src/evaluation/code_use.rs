//! Code statistics: how many are used, how evenly, and the bits per pixel of a picture.

/// Number of codes that occur.
pub(crate) fn usage(counts: &[u64]) -> usize {
    counts.iter().filter(|count| **count > 0).count()
}

/// The exponential of the entropy of the code frequencies: K where all K codes are equally frequent, 1 where a single
/// code occurs, 0 where nothing was counted.
pub fn perplexity(counts: &[u64]) -> f64 {
    let total: f64 = counts.iter().map(|count| *count as f64).sum();
    if total == 0.0 {
        return 0.0;
    }
    let used = counts.iter().filter(|count| **count > 0);
    let entropy: f64 = used.map(|count| *count as f64 / total).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

/// The [`perplexity`] of each level's codes: `counts` are those of `codes` codes a level, level by level.
pub(crate) fn perplexities(counts: &[u64], codes: usize) -> Vec<f64> {
    counts.chunks(codes.max(1)).map(perplexity).collect()
}

/// One number for all levels: the geometric mean, which is the exponential of the mean entropy. 0 without any.
pub(crate) fn perplexity_of_all(levels: &[f64]) -> f64 {
    match levels {
        [] => 0.0,
        [one] => *one,
        many => (many.iter().map(|one| one.ln()).sum::<f64>() / many.len() as f64).exp(),
    }
}

/// Bits per pixel of an image whose `n_codes` codes cost `nats_per_code` each. A pixel counts once, whatever its
/// channels (published "bits per dim" of RGB images are a third of this).
pub(crate) fn bits_per_pixel(
    nats_per_code: f64,
    n_codes: usize,
    height: usize,
    width: usize,
) -> f64 {
    nats_per_code * n_codes as f64 / (height as f64 * width as f64) / std::f64::consts::LN_2
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_counts_the_codes_that_are_used_evenly() {
        assert!((perplexity(&[5; 8]) - 8.0).abs() < 1e-12);
        assert!((perplexity(&[5, 5, 0, 0]) - 2.0).abs() < 1e-12);
        assert_eq!(perplexity(&[0, 9]), 1.0);
        assert_eq!(perplexity(&[0, 0]), 0.0);
        // Frequencies 1/2, 1/4, 1/4: the entropy is 1.5 ln 2.
        assert!((perplexity(&[2, 1, 1]) - 2f64.powf(1.5)).abs() < 1e-12);
    }

    #[test]
    fn levels_are_counted_apart_and_averaged_by_entropy() {
        let levels = perplexities(&[5, 5, 5, 5, 9, 0, 0, 0], 4);
        assert!((levels[0] - 4.0).abs() < 1e-12 && levels[1] == 1.0, "{levels:?}");
        assert!((perplexity_of_all(&levels) - 2.0).abs() < 1e-12);
        assert_eq!(perplexity_of_all(&[3.7]), 3.7);
    }

    #[test]
    fn usage_counts_codes_that_occur() {
        assert_eq!(usage(&[0, 3, 0, 1]), 2);
        assert_eq!(usage(&[]), 0);
    }

    #[test]
    fn a_picture_of_49_codes_and_784_pixels_costs_what_was_published_for_it() {
        assert!((bits_per_pixel(2.349, 49, 28, 28) - 0.2118).abs() < 5e-5);
    }

    #[test]
    fn codes_of_one_bit_a_pixel_cost_one_bit_a_pixel() {
        assert!((bits_per_pixel(std::f64::consts::LN_2, 64, 8, 8) - 1.0).abs() < 1e-12);
    }
}
