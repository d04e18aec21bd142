//! Batches of code sequences for training: which ones a step sees, and which lose their condition.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::checkpoint::Codes;
use crate::data::{Draw, Split};
use crate::error::{Error, Result};
use crate::prior::{Condition, Conditions, PriorConfig};
use crate::rng::Stream;

/// Conditions and codes of a batch.
#[derive(Debug, Clone)]
pub struct SequenceBatch {
    /// `[batch]`.
    pub conditions: Conditions,
    /// `[batch, n_codes]`.
    pub codes: Tensor<2, Int>,
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
        Self {
            conditions: Conditions::new(conditions, config, device),
            codes: Tensor::from_data(TensorData::new(codes, shape), device),
        }
    }
}

/// The sequences of one split of a code file.
#[derive(Debug)]
pub(crate) struct Sequences<'a> {
    codes: &'a Codes,
    images: Vec<usize>,
}

impl<'a> Sequences<'a> {
    /// The images of `split`; flipped views only `with_flipped`.
    ///
    /// # Errors
    /// `with_flipped` where the file has no flipped views.
    pub(crate) fn new(codes: &'a Codes, split: Split, with_flipped: bool) -> Result<Self> {
        let images = codes.images_of(split, with_flipped);
        if with_flipped && !images.is_empty() && images.len() == codes.images_of(split, false).len()
        {
            return Err(Error::invalid(
                "prior.views is flip, but the code file has no flipped views (run extract-codes with --views flip)",
            ));
        }
        Ok(Self { codes, images })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The training batch of `draws`; `class_dropout` is the probability that a sequence loses its condition, and the
    /// random stream.
    pub(crate) fn training_batch(
        &self,
        draws: &[Draw],
        class_dropout: (f64, &mut Stream),
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let images: Vec<usize> = draws.iter().map(|draw| self.images[draw.index]).collect();
        let (probability, rng) = class_dropout;
        let condition_of = |image: usize| {
            let dropped = f64::from(rng.uniform()) < probability;
            if dropped { Condition::default() } else { self.condition_of(image) }
        };
        let conditions: Vec<_> = images.iter().copied().map(condition_of).collect();
        self.batch(&images, &conditions, config, device)
    }

    /// The sequences `range` of the split in file order, with their classes.
    pub(crate) fn plain_batch(
        &self,
        range: std::ops::Range<usize>,
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let images = &self.images[range];
        let conditions: Vec<_> = images.iter().map(|image| self.condition_of(*image)).collect();
        self.batch(images, &conditions, config, device)
    }

    fn condition_of(&self, image: usize) -> Condition {
        let has_classes = !self.codes.classes.is_empty();
        Condition { class: has_classes.then(|| usize::from(self.codes.labels[image])) }
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
