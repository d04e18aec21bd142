//! The recipe of a new run for which none is named: the best that we know for the size and the number of its images. It
//! is a built-in recipe with a few keys changed; `docs/quality.md` has what the choice of the base and its steps rest on.

use super::Override;
use crate::data::Survey;

/// Images up to this size are trained on as they are stored; larger ones are reduced.
const SMALL: usize = 40;
/// Edges of the grid of codes of small images are a quarter of theirs.
const MULTIPLE: usize = 4;
/// Below this number of images a twentieth is too few to measure anything.
const FEW: usize = 600;
/// From this number of images on, stage 1 gains from more steps than the base has; stage 2 stops by itself where its
/// validation loss no longer falls.
const MANY: usize = 5_000;

/// A built-in recipe and what is changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The name of the built-in recipe.
    pub base: &'static str,
    /// Come before the overrides of the command line.
    pub changes: Vec<Override>,
}

impl Fitted {
    /// For images like these; `asked` is the size in pixels that they shall have, where one is given.
    pub fn to(survey: Survey, asked: Option<usize>) -> Self {
        let Survey { images, side, is_grey } = survey;
        let size = asked.unwrap_or(side);
        let mut changes = Vec::new();
        let mut set = |key: &str, value: &str| {
            changes.push(Override::of_flag("the recipe for these images", key, value));
        };
        // The further terms of `emoji-64` draw dots in photographs, and sizes do not say whether images are any.
        let base = if size <= SMALL { "quickstart" } else { "photos-64" };
        if base == "quickstart" {
            let size = (size / MULTIPLE * MULTIPLE).max(4 * MULTIPLE);
            set("data.image_size", &size.to_string());
        }
        if is_grey {
            set("data.channels", "1");
        }
        if images < FEW {
            set("data.validation", "0.1");
            set("data.test", "0.1");
        }
        if images >= MANY && base == "quickstart" {
            set("prior.steps", "4000");
            // Enough sequences without shifted views, which take nine times the encoding.
            set("prior.shift", "0");
            set("vqvae.steps", "6800");
            set("vqvae.perceptual.start_step", "3600");
            set("vqvae.adversarial.start_step", "3000");
        }
        Self { base, changes }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    fn fitted(images: usize, side: usize, asked: Option<usize>) -> (&'static str, Recipe) {
        let Fitted { base, changes } = Fitted::to(Survey { images, side, is_grey: false }, asked);
        (base, Recipe::load(base, &changes).unwrap())
    }

    #[test]
    fn small_images_keep_their_size_and_others_are_reduced_to_64_pixels() {
        for (side, base, size, grid) in [
            (8, "quickstart", 16, 4),
            (28, "quickstart", 28, 7),
            (33, "quickstart", 32, 8),
            (40, "quickstart", 40, 10),
            (48, "photos-64", 64, 8),
            (3_000, "photos-64", 64, 8),
        ] {
            let (found, recipe) = fitted(2_000, side, None);
            assert_eq!((found, recipe.data.image_size), (base, size));
            assert_eq!(recipe.vqvae.tokenizer_config(&recipe.data).grid_size(), grid);
        }
        assert_eq!(fitted(2_000, 3_000, Some(32)).0, "quickstart");
        assert_eq!(fitted(2_000, 16, Some(128)).0, "photos-64");
    }

    #[test]
    fn few_images_hold_more_out_and_many_train_for_longer() {
        let (_, few) = fitted(60, 32, None);
        assert_eq!((few.data.validation, few.data.test, few.prior.steps), (0.1, 0.1, 2_400));
        let (_, many) = fitted(60_000, 32, None);
        assert_eq!((many.data.validation, many.prior.steps), (0.05, 4_000));
        assert_eq!((few.prior.shift, many.prior.shift), (1, 0));
        assert_eq!((many.vqvae.steps, many.vqvae.perceptual.start_step), (6_800, 3_600));
    }

    #[test]
    fn grey_images_have_one_channel() {
        let survey = Survey { images: 900, side: 28, is_grey: true };
        let Fitted { base, changes } = Fitted::to(survey, None);
        assert_eq!(Recipe::load(base, &changes).unwrap().data.channels, 1);
    }
}
