//! Counter-based randomness: every random number of a run comes from a stream keyed by (seed, purpose, step, item),
//! never from a generator whose state has to be saved. Two runs that reach the same step by different routes
//! (uninterrupted, or stopped and resumed) therefore draw the same numbers. Any layer may use it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a stream. The numbers are part of the meaning of a seed: never reuse or renumber one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; item = index of the parameter.
    Weights = 1,
    /// Order of the training images; step = epoch.
    Shuffle = 2,
    /// Flip and crop; step = epoch, item = index of the image.
    Augment = 3,
    /// Which encoder outputs start the codebook.
    CodebookInit = 4,
    /// Which encoder outputs replace dead codes; step = optimizer step.
    Restart = 5,
    /// Dropout masks; step = optimizer step, item = micro batch within it.
    Dropout = 6,
    /// Which codes a masked prior does not see. In training: step = micro batch; of the estimate of its likelihood: item =
    /// mask.
    Mask = 10,
    /// Which sequences lose their class token; step = micro batch, counted from the start of the training.
    ClassDropout = 7,
    /// Sampled codes; item = index of the image.
    Sample = 8,
    /// Where patches of an image are taken for the sliced Wasserstein distance; step = level, item = index of the image.
    Patches = 20,
    /// What they are projected on; item = index of the direction.
    Directions = 21,
    /// What the discriminator sees of an image; step = optimizer step, item = image of the batch.
    DiffAugment = 9,
}

/// A stream of random numbers: ChaCha with 8 rounds, whose output is fixed by its published definition.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

/// The stream of (seed, purpose, step, item). Streams of different keys are independent.
pub fn stream(seed: u64, purpose: Purpose, step: u64, item: u64) -> Stream {
    let mut key = [0u8; 32];
    for (chunk, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, item]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    Stream(ChaCha8Rng::from_seed(key))
}

impl Stream {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in `0..n`, without bias (Lemire 2019). `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to return");
        let n = n as u64;
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// Standard normal (Box and Muller), from two uniform draws.
    pub fn normal(&mut self) -> f32 {
        // 1 - u is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * f64::from(1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        (radius * angle.cos()) as f32
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_each_part_of_its_key() {
        let first = |s, p, t, i| stream(s, p, t, i).bits();
        let base = first(1, Purpose::Weights, 2, 3);
        assert_eq!(base, first(1, Purpose::Weights, 2, 3));
        assert_ne!(base, first(2, Purpose::Weights, 2, 3));
        assert_ne!(base, first(1, Purpose::Shuffle, 2, 3));
        assert_ne!(base, first(1, Purpose::Weights, 3, 3));
        assert_ne!(base, first(1, Purpose::Weights, 2, 4));
    }

    #[test]
    fn shuffling_keeps_every_item_and_below_stays_in_range() {
        let mut rng = stream(0, Purpose::Shuffle, 0, 0);
        let mut items: Vec<usize> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert!((0..1000).all(|_| rng.below(7) < 7));
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut rng = stream(0, Purpose::Weights, 0, 0);
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.04, "variance {variance}");
    }
}
