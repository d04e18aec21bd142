//! Dropout masks for attention weights that are never stored: the factor of a weight is a hash of the seed and its
//! index, cheap enough to recompute wherever it is needed.

/// Which attention weights to drop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightMask {
    seed: u64,
    /// Hashes below it drop.
    threshold: u32,
    /// Scale of a kept weight, 1 / (1 - p).
    kept: f32,
}

/// The mask of one query's weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowMask {
    low: u32,
    high: u32,
    threshold: u32,
    kept: f32,
}

impl WeightMask {
    /// Drops with `probability`; equal seeds drop equal indices. `None` where nothing is dropped.
    pub fn new(probability: f64, seed: u64) -> Option<Self> {
        let steps = 2f64.powi(32);
        // The cast saturates: one in 2^32 is kept, whatever the probability.
        let threshold = (probability * steps).round() as u32;
        let kept = (steps / (steps - f64::from(threshold))) as f32;
        (threshold > 0).then_some(Self { seed, threshold, kept })
    }

    /// The mask of query `row`, counted over all heads of all images.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> RowMask {
        let bits = mix(mix(self.seed).wrapping_add(row as u64));
        let Self { threshold, kept, .. } = *self;
        RowMask { low: bits as u32, high: (bits >> 32) as u32, threshold, kept }
    }
}

impl RowMask {
    /// 0 for a dropped weight, and for others the scale that preserves the expectation. The rounds are those of
    /// Wellons' "low bias" 32-bit hash.
    #[inline(always)]
    pub(super) fn factor(&self, key: u32) -> f32 {
        let mut hash = self.low.wrapping_add(key.wrapping_mul(0x9e37_79b9));
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7feb_352d) ^ self.high;
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846c_a68b);
        hash ^= hash >> 16;
        if hash < self.threshold { 0.0 } else { self.kept }
    }
}

/// The output function of SplitMix64 (Steele et al. 2014).
#[inline(always)]
fn mix(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn factors(probability: f64, seed: u64) -> Vec<f32> {
        let mask = WeightMask::new(probability, seed).unwrap();
        (0..4096).flat_map(|row| (0..64).map(move |key| mask.row(row).factor(key))).collect()
    }

    #[test]
    fn it_drops_the_stated_share_of_rows_and_columns_and_keeps_the_mean() {
        for probability in [0.1, 0.5] {
            let factors = factors(probability, 3);
            let dropped = |values: &mut dyn Iterator<Item = &f32>| {
                let (mut zeros, mut all) = (0.0, 0.0);
                values.for_each(|&value| {
                    zeros += f64::from(u8::from(value == 0.0));
                    all += 1.0;
                });
                zeros / all
            };
            let share = dropped(&mut factors.iter());
            assert!((share - probability).abs() < 0.004, "{share}");
            for key in 0..64 {
                let share = dropped(&mut factors.iter().skip(key).step_by(64));
                assert!((share - probability).abs() < 0.04, "key {key}: {share}");
            }
            let mean = factors.iter().map(|&v| f64::from(v)).sum::<f64>() / factors.len() as f64;
            assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        }
    }

    #[test]
    fn neighbours_in_a_row_and_in_a_column_are_independent() {
        let factors = factors(0.5, 9);
        for distance in [1, 2, 16, 64, 128, 64 * 16] {
            let pairs = factors.iter().zip(&factors[distance..]);
            let equal = pairs.clone().filter(|(a, b)| a == b).count() as f64;
            let share = equal / (factors.len() - distance) as f64;
            assert!((share - 0.5).abs() < 0.005, "distance {distance}: {share}");
        }
    }

    #[test]
    fn seeds_differ_and_the_extremes_hold() {
        assert_ne!(factors(0.5, 1), factors(0.5, 2));
        assert_eq!(WeightMask::new(0.0, 1), None);
        assert!(factors(0.999_999_999_99, 1).iter().all(|factor| factor.is_finite()));
    }
}
