//! Batches of code sequences for training: which ones a step sees, and which lose their condition.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::captions::Captions;
use crate::checkpoint::Codes;
use crate::data::{Draw, Split};
use crate::error::{Error, Result};
use crate::prior::{Condition, Conditions, PriorConfig};
use crate::recipe::PriorSection;
use crate::rng::Stream;

/// The share of captioned sequences that are trained without their class, so that a caption can be sampled without one.
const CLASS_HIDDEN: f32 = 0.5;

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

    /// The training batch of `draws`; `rng` decides which sequences lose their class, their caption or both.
    ///
    /// # Errors
    /// A caption that has no tokens.
    pub(super) fn training_batch(
        &self,
        draws: &[Draw],
        captions: &Captions,
        section: &PriorSection,
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
        Ok(self.batch(&images, &conditions, config, device))
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

    /// The images of the code file, in order.
    pub(super) fn images(&self) -> &[usize] {
        &self.images
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
