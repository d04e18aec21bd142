//! The part of a tokenizer's configuration that is about its quantizer, and which levels stand for a codebook size.

use serde::{Deserialize, Serialize};

use super::TokenizerConfig;
use crate::error::{Error, Result};

/// How latents become codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantizerKind {
    /// The nearest of K vectors (van den Oord et al. 2017).
    #[default]
    Vq,
    /// Each dimension rounded to a few levels (Mentzer et al. 2023, "Finite Scalar Quantization").
    Fsq,
    /// Several codebooks, each for what those before it leave over (Zeghidour et al. 2021, "SoundStream").
    Residual,
}

/// How the decoder's gradient reaches the latents across the choice of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientEstimator {
    /// Unchanged (van den Oord et al. 2017).
    #[default]
    StraightThrough,
    /// Rotated and scaled as the latent is on its way to the code (Fifty et al. 2024, "Restructuring Vector
    /// Quantization with the Rotation Trick").
    Rotation,
}

/// Number of levels of one dimension: with 2, half of a new model's latents would be at their end.
const LEVELS: std::ops::RangeInclusive<usize> = 3..=256;
/// Number of dimensions with levels: 3^10 codes are the most that fit.
const DIMENSIONS: std::ops::RangeInclusive<usize> = 2..=10;
/// Codebooks of a residual quantizer.
const DEPTHS: std::ops::RangeInclusive<usize> = 2..=8;
/// Most codes: they are stored as 16-bit integers.
const MOST_CODES: usize = 65_536;

/// Mentzer et al. 2023, table 1: recommended levels by codebook size.
const RECOMMENDED: [(usize, &[usize]); 6] = [
    (256, &[8, 6, 5]),
    (512, &[8, 8, 8]),
    (1024, &[8, 5, 5, 5]),
    (4096, &[7, 5, 5, 5, 5]),
    (16_384, &[8, 8, 8, 6, 5]),
    (65_536, &[8, 8, 8, 5, 5, 5]),
];

impl TokenizerConfig {
    /// The levels that stand for a codebook of `size` codes: those that the paper recommends for its sizes; for others
    /// the 3 to 6 levels of 5 to 8 each whose product is nearest in ratio, of equally near ones the fewest and largest.
    /// Below 5^3 codes levels may be as few as 3, and below 3^3 there are two of them.
    pub fn levels_for(size: usize) -> Vec<usize> {
        if let Some((_, levels)) = RECOMMENDED.iter().find(|(codes, _)| *codes == size) {
            return levels.to_vec();
        }
        let (dimensions, least) = match size {
            0..27 => (2..=2, 3),
            27..125 => (3..=3, 3),
            _ => (3..=6, 5),
        };
        let distance = |levels: &[usize]| {
            let product: usize = levels.iter().product();
            (product as f64 / size.max(1) as f64).ln().abs()
        };
        let candidates = dimensions.flat_map(|n| descending(n, least, 8));
        let candidates = candidates.filter(|levels| levels.iter().product::<usize>() <= MOST_CODES);
        candidates.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or_default()
    }

    pub(super) fn validate_quantizer(&self) -> Result<()> {
        let fail = |message: String| Err(Error::invalid(message));
        let is_residual = self.quantizer == QuantizerKind::Residual;
        if is_residual && !DEPTHS.contains(&self.depth) {
            return fail(format!("vqvae.depth is {}, allowed are 2 to 8", self.depth));
        }
        if !is_residual && self.depth != 1 {
            return fail(format!(
                "vqvae.depth is {}, which only the residual quantizer has (set vqvae.quantizer to \"residual\")",
                self.depth
            ));
        }
        if is_residual && self.normalize_codes {
            return fail(
                "vqvae.normalize_codes is true, but residuals get shorter from level to level: leave it out or set \
                 vqvae.quantizer to \"vq\""
                    .to_owned(),
            );
        }
        match self.quantizer {
            QuantizerKind::Fsq => self.validate_levels(),
            _ if self.levels.is_empty() => Ok(()),
            _ => fail(format!(
                "vqvae.levels is {:?}, which only the fsq quantizer has (set vqvae.quantizer to \"fsq\")",
                Short(&self.levels)
            )),
        }
    }

    fn validate_levels(&self) -> Result<()> {
        let fail = |message: String| Err(Error::invalid(message));
        let levels = &self.levels;
        if !DIMENSIONS.contains(&levels.len()) {
            return fail(format!(
                "vqvae.levels has {} entries, allowed are {} to {}",
                levels.len(),
                DIMENSIONS.start(),
                DIMENSIONS.end()
            ));
        }
        if let Some(level) = levels.iter().find(|level| !LEVELS.contains(level)) {
            return fail(format!(
                "vqvae.levels has the entry {level}, allowed are {} to {}",
                LEVELS.start(),
                LEVELS.end()
            ));
        }
        // At most 256^10: no overflow of 128 bits.
        let product: u128 = levels.iter().map(|level| *level as u128).product();
        if product > MOST_CODES as u128 {
            return fail(format!(
                "vqvae.levels {levels:?} make {product} codes, allowed are up to {MOST_CODES} (codes are stored as \
                 16-bit integers)"
            ));
        }
        if product != self.codebook_size as u128 || levels.len() != self.code_dim {
            return fail(format!(
                "vqvae.levels {levels:?} make {product} codes of {} dimensions, the configuration says {} of {}",
                levels.len(),
                self.codebook_size,
                self.code_dim
            ));
        }
        if self.normalize_codes || self.codebook_map {
            return fail("the fsq quantizer has no codebook to normalise or map".to_owned());
        }
        Ok(())
    }
}

/// All lists of `n` numbers of `least` to `most`, none above the one before it, the largest lists first.
fn descending(n: usize, least: usize, most: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let longer = |first: usize| {
        descending(n - 1, least, first).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (least..=most).rev().flat_map(longer).collect()
}

/// A list of a forged file, cut to what a message has room for.
struct Short<'a>(&'a [usize]);

impl std::fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.0 {
            [first @ .., _] if first.len() >= 10 => write!(f, "{:?} and more", &first[..10]),
            all => write!(f, "{all:?}"),
        }
    }
}

pub(super) fn is_vq(kind: &QuantizerKind) -> bool {
    *kind == QuantizerKind::Vq
}

/// The depth in files without one, written before codes had a depth.
pub(super) fn one() -> usize {
    1
}

pub(super) fn is_one(depth: &usize) -> bool {
    *depth == 1
}

pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_the_papers_sizes_are_the_papers() {
        for (size, levels) in RECOMMENDED {
            assert_eq!(TokenizerConfig::levels_for(size), levels);
        }
    }

    #[test]
    fn other_sizes_have_levels_whose_product_is_near() {
        for size in 7..=65_536usize {
            // Every size to 2,000, then some.
            if size > 2_000 && !size.is_multiple_of(997) {
                continue;
            }
            let levels = TokenizerConfig::levels_for(size);
            let product: usize = levels.iter().product();
            let ratio = product as f64 / size as f64;
            assert!((0.77..1.3).contains(&ratio), "{size}: {levels:?} are {product}");
            assert!(levels.is_sorted_by(|a, b| a >= b) && levels.len() <= 6, "{levels:?}");
        }
        assert_eq!(TokenizerConfig::levels_for(16), [4, 4]);
        assert_eq!(TokenizerConfig::levels_for(64), [4, 4, 4]);
        assert_eq!(TokenizerConfig::levels_for(2048), [7, 7, 7, 6]); // 2,058
    }

    #[test]
    fn what_one_kind_has_another_is_refused_with() {
        let vq = TokenizerConfig::default();
        let fsq = TokenizerConfig {
            quantizer: QuantizerKind::Fsq,
            levels: vec![5, 4, 3],
            codebook_size: 60,
            code_dim: 3,
            ..vq.clone()
        };
        let residual =
            TokenizerConfig { quantizer: QuantizerKind::Residual, depth: 8, ..vq.clone() };
        for good in [&vq, &fsq, &residual] {
            good.validate().unwrap();
            let text = serde_json::to_string(good).unwrap();
            assert_eq!(&serde_json::from_str::<TokenizerConfig>(&text).unwrap(), good);
        }
        let text = serde_json::to_string(&vq).unwrap();
        for key in ["quantizer", "levels", "depth", "codebook_map"] {
            assert!(!text.contains(key), "{text}");
        }
        let with = |levels: &[usize]| TokenizerConfig { levels: levels.to_vec(), ..fsq.clone() };
        for (config, part) in [
            (TokenizerConfig { depth: 0, ..vq.clone() }, "vqvae.depth is 0, which only"),
            (TokenizerConfig { depth: 2, ..fsq.clone() }, "vqvae.depth is 2, which only"),
            (TokenizerConfig { depth: 0, ..residual.clone() }, "vqvae.depth is 0, allowed are 2"),
            (TokenizerConfig { depth: 9, ..residual.clone() }, "vqvae.depth is 9, allowed are 2"),
            (TokenizerConfig { normalize_codes: true, ..residual }, "residuals get shorter"),
            (TokenizerConfig { levels: vec![5; 99], ..vq }, "5, 5] and more, which only"),
            (with(&[]), "has 0 entries, allowed are 2 to 10"),
            (with(&[3; 11]), "has 11 entries"),
            (with(&[8, 0]), "has the entry 0, allowed are 3 to 256"),
            (with(&[8, usize::MAX]), "has the entry 18446744073709551615"),
            (with(&[256; 10]), "1208925819614629174706176 codes, allowed are up to 65536"),
            (with(&[41, 40, 40]), "make 65600 codes"),
            (with(&[5, 4, 4]), "make 80 codes of 3 dimensions, the configuration says 60 of 3"),
            (with(&[15, 4]), "make 60 codes of 2 dimensions"),
            (TokenizerConfig { codebook_map: true, ..fsq.clone() }, "has no codebook"),
        ] {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
