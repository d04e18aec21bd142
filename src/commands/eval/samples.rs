//! Images that the prior draws, scored against the split.

use super::super::sample;
use super::super::stages::LoadedPrior;
use super::Context;
use super::likelihood::{condition_of, has_conditions};
use super::pictures::with_progress;
use crate::codec::{Codec, IMAGES_PER_PASS};
use crate::data::{Dataset, Split};
use crate::evaluation::{ImageSet, Judges};
use crate::sampling::Request;

/// Samples and what the nets see in them.
pub(super) struct Samples {
    /// The codes of each.
    pub codes: Vec<Vec<u16>>,
    pub set: ImageSet,
    /// Their built-in features, `[n, n_features]`.
    pub features: Vec<f32>,
}

/// Draws `n` images with the sampling settings of the recipe, of the classes and captions of the split in proportion, and
/// passes them through the nets.
pub(super) fn draw(
    n: usize,
    prior: &LoadedPrior,
    codec: Codec<'_>,
    judges: &Judges,
    (dataset, split): (&Dataset, Split),
    context: &Context,
) -> anyhow::Result<Samples> {
    let request = |(index, image): (usize, usize)| {
        let condition = condition_of(prior, (dataset, split), image, Some(image))?;
        Ok(Request { index: index as u64, condition, given: Vec::new() })
    };
    let images = dataset.spread(split, n).into_iter();
    let requests = images.enumerate().map(request).collect::<anyhow::Result<Vec<_>>>()?;
    let is_guided = has_conditions(prior, dataset);
    let config = sample::config_of_recipe(context, is_guided, prior.model.config(), &judges.device);
    let codes = sample::draw(&prior.model, &requests, &config, context)?;
    let mut samples = Samples { codes, set: judges.set(n), features: Vec::new() };
    with_progress(context, "features", n, |done| {
        for part in samples.codes.chunks(IMAGES_PER_PASS) {
            let decoded = codec.decode(&part.concat());
            judges.see(&decoded, &mut samples.set);
            samples.features.extend(judges.features(&decoded));
            done(part.len());
        }
        Ok(())
    })?;
    Ok(samples)
}
