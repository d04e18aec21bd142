//! Dropout (Srivastava et al. 2014) keyed by a seed of the host: the same seed on the same device drops the
//! same activations, so a resumed run repeats an uninterrupted one bit for bit.

use burn::tensor::{Distribution, Tensor, TensorData};
use rayon::prelude::*;

use crate::ops::runs_on_host;
use crate::rng::{Purpose, stream};

/// How much to drop, and the key of the mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping an activation, in [0, 1).
    pub probability: f64,
    /// Key of the mask: equal seeds drop equal places.
    pub seed: u64,
}

/// Activations a random stream serves; a part of the definition of a mask.
const BLOCK: usize = 1 << 14;

/// Sets activations to zero with the given probability and scales the others up, so that the expectation
/// stays. Returns `x` itself for probability 0.
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let Dropout { probability, seed } = dropout;
    if probability == 0.0 {
        return x;
    }
    let device = x.device();
    let mask = if runs_on_host(&device) {
        // Not from the device: flex has one generator for the whole process, so that another thread
        // could draw between seeding and drawing, and it fills masks on one thread.
        let shape = x.shape();
        let mask = host_mask(shape.num_elements(), probability, seed);
        Tensor::from_data(TensorData::new(mask, shape), &device)
    } else {
        // A mask of attention weights is too large to upload every step.
        device.seed(seed);
        let uniform = Tensor::<D>::random(x.shape(), Distribution::Uniform(0.0, 1.0), &device);
        uniform.greater_equal_elem(probability).float() / (1.0 - probability)
    };
    x * mask
}

/// 0 for a dropped activation and 1 / (probability of keeping) for a kept one, from 16 random bits each.
fn host_mask(len: usize, probability: f64, seed: u64) -> Vec<f32> {
    let steps = f64::from(1 << 16);
    // At least one in 65,536 is kept, whatever the probability.
    let threshold = ((probability * steps).round() as u32).min((1 << 16) - 1);
    let kept = (steps / (steps - f64::from(threshold))) as f32;
    let mut mask = vec![0.0; len];
    mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mask)| {
        let mut rng = stream(seed, Purpose::Dropout, 0, block as u64);
        for four in mask.chunks_mut(4) {
            let bits = rng.bits();
            for (place, value) in four.iter_mut().enumerate() {
                let draw = (bits >> (16 * place)) as u16;
                *value = if u32::from(draw) >= threshold { kept } else { 0.0 };
            }
        }
    });
    mask
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
}
