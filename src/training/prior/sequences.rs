//! Batches of code sequences for training: which ones a step sees, and which lose their condition.

use burn::tensor::{Device, Tensor, TensorData};

use super::captions::Captions;
use crate::checkpoint::Codes;
use crate::data::{Draw, Split, View};
use crate::error::{Error, Result};
use crate::prior::{CodeBatch, Condition, Conditions, PriorConfig, masked};
use crate::recipe::PriorSection;
use crate::rng::Stream;

/// The share of captioned sequences that are trained without their class, so that a caption can be sampled without one.
const CLASS_HIDDEN: f32 = 0.5;

/// Conditions and codes of a batch.
#[derive(Debug, Clone)]
pub struct SequenceBatch {
    /// `[batch]`.
    pub conditions: Conditions,
    /// Of as many sequences.
    pub codes: CodeBatch,
}

impl SequenceBatch {
    /// The concatenated sequences `codes` with their conditions.
    pub fn new(
        conditions: &[Condition],
        codes: impl Iterator<Item = u16>,
        config: &PriorConfig,
        device: &Device,
    ) -> Self {
        let shape = [conditions.len(), config.n_codes()];
        let codes: Vec<i32> = codes.map(i32::from).collect();
        let codes = Tensor::from_data(TensorData::new(codes, shape), device);
        let conditions = Conditions::new(conditions, config, device);
        Self { conditions, codes: CodeBatch::of(codes) }
    }

    /// The same, but that the model does not see some codes, which it learns: of each sequence the share is a quarter of a
    /// cosine of a uniform number, so that most steps learn much from little, as sampling begins.
    fn with_masks(mut self, config: &PriorConfig, rng: &mut Stream) -> Self {
        let [batch, n_codes] = self.codes.targets.dims();
        let mut mask = Vec::with_capacity(batch * n_codes);
        for _ in 0..batch {
            let share = (std::f64::consts::FRAC_PI_2 * f64::from(rng.uniform())).cos();
            let n_unknown = ((share * n_codes as f64).ceil() as usize).clamp(1, n_codes);
            let mut places: Vec<bool> = (0..n_codes).map(|place| place < n_unknown).collect();
            rng.shuffle(&mut places);
            mask.extend(places);
        }
        let device = self.codes.seen.device();
        self.codes.seen = masked(self.codes.seen, &mask, config, &device);
        self
    }

    /// The same, but that the model sees a random code instead of each with probability `noise`.
    fn with_noise(mut self, noise: f64, codebook_size: usize, rng: &mut Stream) -> Self {
        if noise == 0.0 {
            return self;
        }
        let [batch, n_codes] = self.codes.seen.dims();
        let device = self.codes.seen.device();
        let n = batch * n_codes;
        let replaced: Vec<bool> = (0..n).map(|_| f64::from(rng.uniform()) < noise).collect();
        let random: Vec<i32> = (0..n).map(|_| rng.below(codebook_size) as i32).collect();
        let replaced = Tensor::from_data(TensorData::new(replaced, [batch, n_codes]), &device);
        let random = Tensor::from_data(TensorData::new(random, [batch, n_codes]), &device);
        self.codes.seen = self.codes.seen.mask_where(replaced, random);
        self
    }

    /// The same, but that each sequence is in a random order with probability `share`; the codes of a position stay
    /// together.
    fn with_orders(mut self, share: f64, depth: usize, rng: &mut Stream) -> Self {
        if share == 0.0 {
            return self;
        }
        let [batch, n_codes] = self.codes.targets.dims();
        let mut order: Vec<i32> = Vec::with_capacity(batch * n_codes);
        for _ in 0..batch {
            let mut places: Vec<usize> = (0..n_codes / depth).collect();
            if f64::from(rng.uniform()) < share {
                rng.shuffle(&mut places);
            }
            let codes = places.iter().flat_map(|place| place * depth..(place + 1) * depth);
            order.extend(codes.map(|code| code as i32));
        }
        let device = self.codes.targets.device();
        let order = Tensor::from_data(TensorData::new(order, [batch, n_codes]), &device);
        self.codes = self.codes.in_order(order);
        self
    }
}

/// The sequences of one split of a code file.
#[derive(Debug)]
pub(crate) struct Sequences<'a> {
    codes: &'a Codes,
    images: Vec<usize>,
}

impl<'a> Sequences<'a> {
    /// The training images in the views of `section`.
    ///
    /// # Errors
    /// A view that the file does not have.
    pub(super) fn for_training(codes: &'a Codes, section: &PriorSection) -> Result<Self> {
        let (wanted, found) = (section.all_views(), codes.views_of(Split::Train));
        if let Some(missing) = wanted.iter().find(|view| !found.contains(view))
            && !found.is_empty()
        {
            let message = match missing.distance() {
                0 => "prior.views is flip, but the code file has no flipped views (run extract-codes with --views flip)"
                    .to_owned(),
                _ => format!(
                    "prior.shift is {}, but the code file has views shifted by {} pixels at most (run extract-codes with \
                     --set prior.shift={})",
                    section.shift,
                    found.iter().map(|view| view.distance()).max().unwrap_or_default(),
                    section.shift
                ),
            };
            return Err(Error::invalid(message));
        }
        Ok(Self { codes, images: codes.images_of(Split::Train, &wanted) })
    }

    /// The validation images as they are.
    pub(super) fn for_validation(codes: &'a Codes) -> Self {
        Self { codes, images: codes.images_of(Split::Validation, &[View::AS_IS]) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The training batch of `draws`; `rng` decides which sequences lose their class, their caption or both, which codes the
    /// model does not see, and which of them come in a random order: a share of `random_orders`.
    ///
    /// # Errors
    /// A caption that has no tokens.
    pub(super) fn training_batch(
        &self,
        draws: &[Draw],
        captions: &Captions,
        (section, random_orders): (&PriorSection, f64),
        rng: &mut Stream,
        (config, device): (&PriorConfig, &Device),
    ) -> Result<SequenceBatch> {
        let images: Vec<usize> = draws.iter().map(|draw| self.images[draw.index]).collect();
        let mut condition_of = |image: usize| {
            if f64::from(rng.uniform()) < section.class_dropout {
                return Ok(Condition::default());
            }
            let class = self.class_of(image);
            if !config.has_captions() || f64::from(rng.uniform()) < section.caption_dropout {
                return Ok(Condition::of_class(class));
            }
            let caption = captions.drawn(image, section.word_dropout, rng)?;
            let is_hidden = rng.uniform() < CLASS_HIDDEN && !caption.is_empty();
            Ok(Condition { class: class.filter(|_| !is_hidden), caption })
        };
        let conditions =
            images.iter().map(|image| condition_of(*image)).collect::<Result<Vec<_>>>()?;
        let batch = self.batch(&images, &conditions, config, device);
        let batch = batch.with_noise(section.code_noise, config.codebook_size, rng);
        Ok(match config.is_masked() {
            true => batch.with_masks(config, rng),
            false => batch.with_orders(random_orders, config.depth, rng),
        })
    }

    /// The sequences `range` of the split in file order, with their classes and first captions.
    ///
    /// # Errors
    /// A caption that has no tokens.
    pub(super) fn plain_batch(
        &self,
        range: std::ops::Range<usize>,
        captions: &Captions,
        config: &PriorConfig,
        device: &Device,
    ) -> Result<SequenceBatch> {
        let images = &self.images[range];
        let condition_of = |image: usize| {
            Ok(Condition { class: self.class_of(image), caption: captions.first(image)? })
        };
        let conditions =
            images.iter().map(|image| condition_of(*image)).collect::<Result<Vec<_>>>()?;
        Ok(self.batch(images, &conditions, config, device))
    }

    fn class_of(&self, image: usize) -> Option<usize> {
        let has_classes = !self.codes.classes.is_empty();
        has_classes.then(|| usize::from(self.codes.labels[image]))
    }

    fn batch(
        &self,
        images: &[usize],
        conditions: &[Condition],
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let codes = images.iter().flat_map(|image| self.codes.grid(*image).iter().copied());
        SequenceBatch::new(conditions, codes, config, device)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    /// Six positions of two codes each, in random orders with probability `share`.
    fn ordered(share: f64) -> CodeBatch {
        let config = PriorConfig { grid_height: 2, grid_width: 3, depth: 2, ..Default::default() };
        let conditions = vec![Condition::default(); 40];
        let codes = (0..40 * 12).map(|at| at % 12);
        let batch = SequenceBatch::new(&conditions, codes, &config, &Device::flex());
        batch.with_orders(share, 2, &mut stream(0, Purpose::ClassDropout, 0, 0)).codes
    }

    #[test]
    fn orders_are_permutations_that_keep_the_codes_of_a_position_together() {
        assert!(ordered(0.0).order.is_none());
        for (share, allowed) in [(1.0, 0..=2), (0.5, 10..=30)] {
            let CodeBatch { targets, seen, order } = ordered(share);
            let order: Vec<usize> =
                order.unwrap().to_data().iter::<i32>().map(|at| at as usize).collect();
            // Each code is its place.
            for codes in [targets, seen] {
                let codes: Vec<usize> =
                    codes.to_data().iter::<i32>().map(|at| at as usize).collect();
                assert_eq!(codes, order);
            }
            let raster: Vec<usize> = (0..12).collect();
            for row in order.chunks(12) {
                let mut sorted = row.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, raster);
                assert!(row.chunks(2).all(|pair| pair[0] % 2 == 0 && pair[1] == pair[0] + 1));
            }
            let n_raster = order.chunks(12).filter(|row| *row == raster).count();
            assert!(allowed.contains(&n_raster), "{share}: {n_raster} of 40 in raster order");
        }
    }
}
