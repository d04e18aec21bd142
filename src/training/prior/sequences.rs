//! Code sequences as a training loop takes them: which ones a step sees, and which lose their class.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::checkpoint::Codes;
use crate::data::{Draw, Split};
use crate::error::{Error, Result};
use crate::prior::PriorConfig;
use crate::rng::Stream;

/// Class tokens and codes of a batch.
#[derive(Debug, Clone)]
pub struct SequenceBatch {
    /// `[batch]`.
    pub classes: Tensor<1, Int>,
    /// `[batch, n_codes]`.
    pub codes: Tensor<2, Int>,
}

impl SequenceBatch {
    /// The sequences `codes`, one after the other, with their classes.
    pub fn new(
        classes: &[Option<usize>],
        codes: impl Iterator<Item = u16>,
        config: &PriorConfig,
        device: &Device,
    ) -> Self {
        let shape = [classes.len(), config.n_codes()];
        let classes: Vec<i32> =
            classes.iter().map(|class| config.class_token(*class) as i32).collect();
        let codes: Vec<i32> = codes.map(i32::from).collect();
        Self {
            classes: Tensor::from_data(classes.as_slice(), device),
            codes: Tensor::from_data(TensorData::new(codes, shape), device),
        }
    }
}

/// The sequences of one split of a code file.
#[derive(Debug)]
pub struct Sequences<'a> {
    codes: &'a Codes,
    images: Vec<usize>,
}

impl<'a> Sequences<'a> {
    /// The images of `split`; mirrored views only if asked for.
    ///
    /// # Errors
    /// `with_flipped` where the file has no mirrored views.
    pub fn new(codes: &'a Codes, split: Split, with_flipped: bool) -> Result<Self> {
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
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The training batch that `draws` deals out; each sequence loses its class by `class_dropout`: the
    /// probability, and the stream that decides.
    pub fn training_batch(
        &self,
        draws: &[Draw],
        class_dropout: (f64, &mut Stream),
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let images: Vec<usize> = draws.iter().map(|draw| self.images[draw.index]).collect();
        let (probability, rng) = class_dropout;
        let class_of = |image: usize| {
            let dropped = f64::from(rng.uniform()) < probability;
            self.class_of(image).filter(|_| !dropped)
        };
        let classes: Vec<Option<usize>> = images.iter().copied().map(class_of).collect();
        self.batch(&images, &classes, config, device)
    }

    /// The sequences `range` of the split in file order, with their classes.
    pub fn plain_batch(
        &self,
        range: std::ops::Range<usize>,
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let images = &self.images[range];
        let classes: Vec<_> = images.iter().map(|image| self.class_of(*image)).collect();
        self.batch(images, &classes, config, device)
    }

    fn class_of(&self, image: usize) -> Option<usize> {
        (!self.codes.classes.is_empty()).then(|| usize::from(self.codes.labels[image]))
    }

    fn batch(
        &self,
        images: &[usize],
        classes: &[Option<usize>],
        config: &PriorConfig,
        device: &Device,
    ) -> SequenceBatch {
        let codes = images.iter().flat_map(|image| self.codes.grid(*image).iter().copied());
        SequenceBatch::new(classes, codes, config, device)
    }
}
