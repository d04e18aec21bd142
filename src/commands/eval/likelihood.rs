//! How probable the prior finds the images of a split, and how much it listens to their captions.

use super::super::stages::LoadedPrior;
use crate::codec::IMAGES_PER_PASS;
use crate::data::{Dataset, Split};
use crate::device::Device;
use crate::error::Result;
use crate::evaluation::nats_per_code;
use crate::prior::Condition;
use crate::training::prior::SequenceBatch;

/// Nats per code of the images of a split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Likelihood {
    /// Given their classes and captions, as far as the prior knows them.
    pub(super) nats: f64,
    /// Of a prior with captions.
    pub(super) captions: Option<CaptionLikelihood>,
}

/// The same for other captions.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaptionLikelihood {
    /// Given the caption of another image.
    pub(super) of_another: f64,
    /// Given none.
    pub(super) without: f64,
}

/// Which caption a prior is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Own,
    /// That of the image half a split away, and so hardly ever of one like it: splits are sorted by name.
    Another,
    None,
}

/// The likelihood of `codes`, those of all images of the split in order. The codes are those just computed, not those of
/// the code file, whose splits may differ.
pub(super) fn likelihood(
    prior: &LoadedPrior,
    codes: &[u16],
    (dataset, split): (&Dataset, Split),
    device: &Device,
) -> Result<Likelihood> {
    let of = |given| nats(prior, codes, (dataset, split), given, device);
    let reads = prior.vocabulary.is_some() && dataset.is_captioned();
    let captions = match reads {
        true => {
            Some(CaptionLikelihood { of_another: of(Given::Another)?, without: of(Given::None)? })
        }
        false => None,
    };
    Ok(Likelihood { nats: of(Given::Own)?, captions })
}

/// Whether images of the data set have classes or captions that the prior knows.
pub(super) fn has_conditions(prior: &LoadedPrior, dataset: &Dataset) -> bool {
    !prior.classes.is_empty() || (prior.vocabulary.is_some() && dataset.is_captioned())
}

/// The condition of an image of the split: its class, and the first caption of image `caption`, as far as the prior knows
/// them.
///
/// # Errors
/// A caption that has no tokens.
pub(super) fn condition_of(
    prior: &LoadedPrior,
    (dataset, split): (&Dataset, Split),
    index: usize,
    caption: Option<usize>,
) -> Result<Condition> {
    let has_classes = !dataset.classes().is_empty();
    let class = has_classes.then(|| usize::from(dataset.label(split, index)));
    let caption = caption.and_then(|image| dataset.captions(split, image).first());
    let caption = match (&prior.vocabulary, caption) {
        (Some(vocabulary), Some(caption)) => vocabulary.tokens(caption)?,
        _ => Vec::new(),
    };
    Ok(Condition { class, caption })
}

fn nats(
    prior: &LoadedPrior,
    codes: &[u16],
    (dataset, split): (&Dataset, Split),
    given: Given,
    device: &Device,
) -> Result<f64> {
    let config = prior.model.config();
    let n_images = dataset.len(split);
    let condition = |index: usize| {
        let caption = match given {
            Given::Own => Some(index),
            Given::Another => Some((index + n_images / 2) % n_images),
            Given::None => None,
        };
        condition_of(prior, (dataset, split), index, caption)
    };
    let images = codes.chunks(IMAGES_PER_PASS * config.n_codes());
    let batches = images.enumerate().map(|(part, codes)| {
        let from = part * IMAGES_PER_PASS;
        let images = from..from + codes.len() / config.n_codes();
        let conditions = images.map(condition).collect::<Result<Vec<_>>>()?;
        let batch = SequenceBatch::new(&conditions, codes.iter().copied(), config, device);
        Ok((batch.conditions, batch.codes.targets))
    });
    nats_per_code(&prior.model, batches)
}
