//! Dropout (Srivastava et al. 2014) keyed by a seed from the host: the same seed on the same device drops the same
//! activations, so a resumed run equals an uninterrupted one bit for bit.

use burn::tensor::{Distribution, Tensor};
use vqgen_kernels::{self as kernels, Mask, WeightMask};

/// How much to drop, and the key of the mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping an activation, in [0, 1).
    pub probability: f64,
    /// Key of the mask: equal seeds drop equal elements.
    pub seed: u64,
}

/// Zeroes activations with the given probability and scales the others so that the expectation is preserved. Returns
/// `x` itself for probability 0.
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let Dropout { probability, seed } = dropout;
    if probability == 0.0 {
        return x;
    }
    if kernels::runs_here(&x) {
        return kernels::dropout(x, dropout.mask());
    }
    // Drawn on the device: a mask of attention weights is too large to upload every step.
    let device = x.device();
    device.seed(seed);
    let uniform = Tensor::<D>::random(x.shape(), Distribution::Uniform(0.0, 1.0), &device);
    x * (uniform.greater_equal_elem(probability).float() / (1.0 - probability))
}

impl Dropout {
    /// The mask for the CPU kernels. Not from the device's generator: flex has one for the whole process, so another
    /// thread could draw between seeding and drawing.
    pub(super) fn mask(self) -> Mask {
        Mask::new(self.probability, self.seed)
    }

    /// The mask for attention weights; `None` where nothing is dropped.
    pub(super) fn weight_mask(self) -> Option<WeightMask> {
        WeightMask::new(self.probability, self.seed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn drop_ones(probability: f64, seed: u64) -> Vec<f32> {
        let ones = Tensor::<2>::ones([300, 201], &Device::flex());
        dropout(ones, Dropout { probability, seed }).into_data().try_into_vec().unwrap()
    }

    #[test]
    fn it_drops_the_stated_share_and_keeps_the_mean() {
        let values = drop_ones(0.25, 7);
        let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((dropped - 0.25).abs() < 0.01, "dropped {dropped}");
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!(values.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
    }

    #[test]
    fn a_seed_repeats_its_mask_and_another_seed_does_not() {
        assert_eq!(drop_ones(0.5, 1), drop_ones(0.5, 1));
        assert_ne!(drop_ones(0.5, 1), drop_ones(0.5, 2));
    }

    #[test]
    fn probability_zero_changes_nothing_and_almost_one_stays_finite() {
        assert!(drop_ones(0.0, 3).iter().all(|&v| v == 1.0));
        assert!(drop_ones(0.999_999_9, 3).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn the_gradient_takes_the_mask_of_the_forward_pass() {
        let device = Device::flex().autodiff();
        let x = Tensor::<1>::ones([64], &device).require_grad();
        let y = dropout(x.clone(), Dropout { probability: 0.5, seed: 3 });
        let grad = x.grad(&y.clone().sum().backward()).unwrap();
        grad.into_data().assert_eq(&y.into_data(), true);
    }

    #[test]
    fn a_mask_does_not_depend_on_the_number_of_threads_and_neighbours_are_independent() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| drop_ones(0.5, 11))
        };
        let values = run(1);
        assert_eq!(values, run(3));
        for distance in [1, 2, 64, 201, 1 << 14] {
            let pairs = values.iter().zip(&values[distance..]);
            let equal = pairs.clone().filter(|(a, b)| a == b).count() as f64;
            let share = equal / pairs.len() as f64;
            assert!((share - 0.5).abs() < 0.01, "{share} at distance {distance}");
        }
    }
}
