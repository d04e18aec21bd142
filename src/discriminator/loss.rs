//! The losses of discriminator and decoder, on logits and features.

use burn::tensor::Tensor;
use burn::tensor::activation::softplus;

use crate::ops::{mean_absolute_error, relu};

/// What a discriminator learns by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdversarialLoss {
    /// Lim and Ye 2017: the discriminator is content with a margin of 1.
    Hinge,
    /// Goodfellow et al. 2014: cross-entropy; the decoder maximises the probability that it is taken for real.
    NonSaturating,
}

impl AdversarialLoss {
    /// What the discriminator minimises.
    ///
    /// # Shapes
    /// - `real`, `fake`: logits, any shape
    /// - output: `[1]`
    pub fn of_discriminator<const D: usize>(self, real: Tensor<D>, fake: Tensor<D>) -> Tensor<1> {
        match self {
            Self::Hinge => {
                relu(real.neg().add_scalar(1.0)).mean() + relu(fake.add_scalar(1.0)).mean()
            }
            Self::NonSaturating => softplus(real.neg(), 1.0).mean() + softplus(fake, 1.0).mean(),
        }
    }

    /// What the decoder minimises.
    ///
    /// # Shapes
    /// - `fake`: logits, any shape
    /// - output: `[1]`
    pub fn of_decoder<const D: usize>(self, fake: Tensor<D>) -> Tensor<1> {
        match self {
            Self::Hinge => fake.neg().mean(),
            Self::NonSaturating => softplus(fake.neg(), 1.0).mean(),
        }
    }
}

/// LeCAM (Tseng et al. 2021, Eq. 4): logits for images are kept from rising above the mean for reconstructions, and the
/// other way round.
///
/// # Shapes
/// - `real`, `fake`: logits, any shape
/// - `means`: the running means of the logits for images and for reconstructions, `[2]`
/// - output: `[1]`
pub fn lecam<const D: usize>(real: Tensor<D>, fake: Tensor<D>, means: Tensor<1>) -> Tensor<1> {
    let mean = |place: usize| means.clone().narrow(0, place, 1).reshape([1; D]);
    relu(real - mean(1)).square().mean() + relu(mean(0) - fake).square().mean()
}

/// The mean over levels of the mean absolute difference between features.
///
/// # Shapes
/// - `real`, `fake`: at least one level, pairwise of the same shape
/// - output: `[1]`
pub fn feature_matching<const D: usize>(real: Vec<Tensor<D>>, fake: Vec<Tensor<D>>) -> Tensor<1> {
    let levels: Vec<_> =
        real.into_iter().zip(fake).map(|(real, fake)| mean_absolute_error(fake, real)).collect();
    Tensor::cat(levels, 0).mean()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn row(values: [f32; 2]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn near(found: Tensor<1>, wanted: f32) {
        let found: f32 = found.into_scalar();
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }

    #[test]
    fn losses_are_right_by_hand() {
        let (real, fake) = (row([0.5, 3.0]), row([-2.0, 1.0]));
        // (.5 + 0) / 2 + (0 + 2) / 2
        near(AdversarialLoss::Hinge.of_discriminator(real.clone(), fake.clone()), 1.25);
        near(AdversarialLoss::Hinge.of_decoder(fake.clone()), 0.5);
        let softplus = |x: f32| x.exp().ln_1p();
        let of_discriminator =
            (softplus(-0.5) + softplus(-3.0) + softplus(-2.0) + softplus(1.0)) / 2.0;
        let cross_entropy = AdversarialLoss::NonSaturating;
        near(cross_entropy.of_discriminator(real, fake.clone()), of_discriminator);
        near(cross_entropy.of_decoder(fake), (softplus(2.0) + softplus(-1.0)) / 2.0);
    }

    #[test]
    fn lecam_is_right_by_hand() {
        // Images above -1 by 1.5 and 4, reconstructions below 2 by 4 and 1.
        let penalty = lecam(row([0.5, 3.0]), row([-2.0, 1.0]), row([2.0, -1.0]));
        near(penalty, (1.5f32.powi(2) + 16.0 + 16.0 + 1.0) / 2.0);
        near(lecam(row([0.5, 3.0]), row([2.0, 1.0]), row([0.0, 3.0])), 0.0);
    }

    #[test]
    fn features_are_matched_level_by_level() {
        let levels = |a, b| vec![row(a), row(b)];
        let distance =
            feature_matching(levels([1.0, 2.0], [0.0, 0.0]), levels([1.0, 4.0], [3.0, 1.0]));
        near(distance, (1.0 + 2.0) / 2.0);
    }
}
