//! Finite scalar quantization (Mentzer et al. 2023): every dimension of a latent is bounded and rounded to one of a few
//! levels. The codebook is the grid of all combinations: nothing of it is learned, and so nothing can collapse.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use super::{Assigned, Quantized};
use crate::ops::straight_through;

/// How far beyond the outermost levels a latent is bounded, relative to their distance: without it, the gradient would
/// vanish before they are reached (the paper's appendix A.1).
const MARGIN: f64 = 1e-3;

/// The levels of each dimension.
#[derive(Module, Debug)]
pub struct FiniteScalars {
    /// At least 3 each; `code_dim` of them.
    #[module(skip)]
    pub levels: Vec<usize>,
}

impl FiniteScalars {
    /// The code of each latent, without gradient: its levels as the digits of a number, the first the lowest.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    /// - output: `[n]`
    pub fn assign(&self, latents: Tensor<2>) -> Tensor<1, Int> {
        self.codes_of(self.bounded(latents.detach()).round())
    }

    /// The decoder's input for `codes`: from -1 to 1 in each dimension.
    ///
    /// # Shapes
    /// - `codes`: `[n]`
    /// - output: `[n, code_dim]`
    pub fn lookup(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        let mut rest: Tensor<2, Int> = codes.unsqueeze_dim(1); // [n, 1]
        let mut digits = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            digits.push(rest.clone().remainder_scalar(*level as i64));
            rest = rest.div_scalar(*level as i64);
        }
        let digits = Tensor::cat(digits, 1).float(); // [n, code_dim]
        let half = self.row(&digits.device(), half_width);
        (digits - half.clone()) / half
    }

    /// Rounds with the gradient passed straight through the rounding; there is no loss term.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub(super) fn quantize(&self, latents: Tensor<2>) -> Quantized {
        let fixed = latents.clone().detach();
        let bounded = self.bounded(latents);
        let rounded = bounded.clone().detach().round();
        let codes = self.codes_of(rounded.clone());
        let half = self.row(&rounded.device(), half_width);
        let straight_through = straight_through(bounded, rounded) / half;
        let levels = vec![Assigned { latents: fixed, codes }];
        Quantized { levels, straight_through, terms: Vec::new() }
    }

    /// As [`Tokenizer::activations`](crate::tokenizer::Tokenizer::activations), of `n` latents.
    pub(super) fn activations(&self, n: usize) -> usize {
        4 * n * self.levels.len() // bounded, scaled, rounded, what the decoder gets
    }

    /// Latents between half a level below the lowest and half a level above the highest.
    ///
    /// # Shapes
    /// - `latents`, output: `[n, code_dim]`
    fn bounded(&self, latents: Tensor<2>) -> Tensor<2> {
        let device = latents.device();
        let shift = self.row(&device, |levels| (offset(levels) / half_range(levels)).atanh());
        let (scale, offset) = (self.row(&device, half_range), self.row(&device, offset));
        (latents + shift).tanh() * scale - offset
    }

    /// # Shapes
    /// - `rounded`: `[n, code_dim]`
    /// - output: `[n]`
    fn codes_of(&self, rounded: Tensor<2>) -> Tensor<1, Int> {
        let device = rounded.device();
        let mut place = 1.0;
        let mut basis = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            basis.push(place as f32);
            place *= *level as f64;
        }
        let basis = Tensor::<1>::from_floats(basis.as_slice(), &device).unsqueeze();
        let digits = rounded + self.row(&device, half_width);
        // Whole numbers below 2^16, exact in f32.
        (digits * basis).sum_dim(1).squeeze_dim::<1>(1).int()
    }

    /// `of` the number of levels of each dimension, `[1, code_dim]`.
    fn row(&self, device: &Device, of: impl Fn(usize) -> f64) -> Tensor<2> {
        let values: Vec<f32> = self.levels.iter().map(|levels| of(*levels) as f32).collect();
        Tensor::<1>::from_floats(values.as_slice(), device).unsqueeze()
    }
}

/// The distance from the middle to where latents are bounded.
fn half_range(levels: usize) -> f64 {
    (levels - 1) as f64 * (1.0 + MARGIN) / 2.0
}

/// An even number of levels has none in the middle.
fn offset(levels: usize) -> f64 {
    if levels.is_multiple_of(2) { 0.5 } else { 0.0 }
}

/// The number of levels below that at 0.
fn half_width(levels: usize) -> f64 {
    (levels / 2) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    #[test]
    fn an_odd_number_of_levels_is_symmetric_and_an_even_one_has_one_more_below() {
        let device = Device::flex();
        let scalars = FiniteScalars { levels: vec![3, 4] };
        let z = [[-9.0, -9.0], [-0.3, -1.0], [0.0, 0.0], [0.4, 0.4], [9.0, 9.0]];
        let codes = scalars.assign(Tensor::from_floats(z, &device));
        // First digits 0, 1, 1, 1, 2; second ones: tanh(z + atanh(.5 / 1.5015)) * 1.5015 - .5 rounds to -2, -1, 0, 0, 1.
        codes.clone().into_data().assert_eq(&TensorData::from([0, 4, 7, 7, 11]), false);
        let found = scalars.lookup(codes).into_data();
        let wanted = [[-1.0f32, -1.0], [0.0, -0.5], [0.0, 0.0], [0.0, 0.0], [1.0, 0.5]];
        found.assert_eq(&TensorData::from(wanted), true);
    }

    #[test]
    fn every_code_comes_back_from_its_vector() {
        let device = Device::flex();
        for levels in [vec![8, 5, 5, 5], vec![7, 3], vec![256, 256], vec![4, 4, 4, 4, 4, 4, 4, 4]] {
            let n = levels.iter().product::<usize>() as i64;
            let scalars = FiniteScalars { levels };
            let codes = Tensor::<1, Int>::arange(0..n, &device);
            let half = scalars.row(&device, half_width);
            let again = scalars.codes_of((scalars.lookup(codes.clone()) * half).round());
            again.into_data().assert_eq(&codes.into_data(), false);
        }
    }

    #[test]
    fn the_training_pass_gives_the_vectors_of_its_codes_and_the_slope_of_the_bound() {
        let device = Device::flex().autodiff();
        let scalars = FiniteScalars { levels: vec![3, 8] };
        let z = Tensor::<2>::from_floats([[0.5, -1.25], [2.0, 0.75]], &device).require_grad();
        let quantized = scalars.quantize(z.clone());
        assert!(quantized.terms.is_empty());
        let codes = quantized.levels[0].codes.clone();
        let looked_up = scalars.lookup(codes.clone()).into_data();
        quantized.straight_through.clone().into_data().assert_eq(&looked_up, true);
        scalars.assign(z.clone()).into_data().assert_eq(&codes.into_data(), true);
        let gradients = quantized.straight_through.sum().backward();
        // d/dz tanh(z + s) r / w = (1 - tanh^2) r / w with r = 1.001, w = 1 and r = 3.5035, w = 4.
        let slope = |z: f64, levels: usize| {
            let t = (z + (offset(levels) / half_range(levels)).atanh()).tanh();
            ((1.0 - t * t) * half_range(levels) / half_width(levels)) as f32
        };
        let wanted = [[slope(0.5, 3), slope(-1.25, 8)], [slope(2.0, 3), slope(0.75, 8)]];
        let near = Tolerance::absolute(1e-6);
        let found = z.grad(&gradients).unwrap().into_data();
        found.assert_approx_eq::<f32>(&TensorData::from(wanted), near);
    }
}
