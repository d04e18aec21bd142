//! The quantizer: the codebook, nearest-code assignment, the straight-through estimator and the two code
//! terms of Eq. 3 in van den Oord et al. 2017.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use super::TokenizerConfig;
use crate::ops::init::WeightInit;
use crate::ops::nearest::nearest_code;
use crate::ops::{mean_squared_error, straight_through};

/// Keeps the norm of an all-zero vector away from 0.
const NORM_FLOOR: f64 = 1e-12;

/// K vectors of D numbers.
#[derive(Module, Debug)]
pub struct Codebook {
    /// `[codes, code_dim]`.
    pub weight: Param<Tensor<2>>,
    /// Whether latents and codes are compared, and passed on, l2-normalised.
    #[module(skip)]
    pub normalize: bool,
}

/// What quantizing gives, all over the flattened grid.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The code of each position, `[n]`.
    pub codes: Tensor<1, Int>,
    /// The latents as they were compared (normalised if the codebook is), without gradient, `[n, code_dim]`.
    pub latents: Tensor<2>,
    /// The code vectors, with the gradient of the decoder passed straight to the latents, `[n, code_dim]`.
    pub straight_through: Tensor<2>,
    /// Mean of `|sg[z_e] - e|^2`: its gradient reaches the codebook only. `[1]`.
    pub codebook_loss: Tensor<1>,
    /// Mean of `|z_e - sg[e]|^2`, without beta: its gradient reaches the encoder only. `[1]`.
    pub commitment_loss: Tensor<1>,
}

impl Codebook {
    /// Uniform in `±1 / codebook_size`, as in the paper's first code: all codes start near each other, and
    /// the latents pull them apart one after the other; a wider start leaves more of them behind. Normal
    /// where codes are normalised, so that directions are spread evenly.
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let shape = [config.codebook_size, config.code_dim];
        let weight = if config.normalize_codes {
            init.normal(shape, 1.0)
        } else {
            init.uniform(shape, 1.0 / config.codebook_size as f32)
        };
        Self { weight, normalize: config.normalize_codes }
    }

    /// The code vectors as the decoder sees them, `[codes, code_dim]`.
    pub fn vectors(&self) -> Tensor<2> {
        self.prepared(self.weight.val())
    }

    /// The nearest code of each latent, without gradient.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    /// - output: `[n]`
    pub fn assign(&self, latents: Tensor<2>) -> Tensor<1, Int> {
        nearest_code(self.prepared(latents.detach()), self.vectors().detach())
    }

    /// The code vectors of `codes`.
    ///
    /// # Shapes
    /// - `codes`: `[n]`
    /// - output: `[n, code_dim]`
    pub fn lookup(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        self.vectors().select(0, codes)
    }

    /// Assigns, looks up and computes the two code terms.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub fn quantize(&self, latents: Tensor<2>) -> Quantized {
        let latents = self.prepared(latents);
        let fixed_latents = latents.clone().detach();
        let vectors = self.vectors();
        let codes = nearest_code(fixed_latents.clone(), vectors.clone().detach());
        let chosen = vectors.select(0, codes.clone());
        let fixed = chosen.clone().detach();
        let codebook_loss = mean_squared_error(fixed_latents.clone(), chosen);
        let commitment_loss = mean_squared_error(latents.clone(), fixed.clone());
        let straight_through = straight_through(latents, fixed);
        Quantized {
            codes,
            latents: fixed_latents,
            straight_through,
            codebook_loss,
            commitment_loss,
        }
    }

    /// Latents as they are compared: normalised where the codebook asks for it.
    ///
    /// # Shapes
    /// - `rows`, output: `[n, code_dim]`
    pub fn prepared(&self, rows: Tensor<2>) -> Tensor<2> {
        if !self.normalize {
            return rows;
        }
        let norms = rows.clone().square().sum_dim(1).add_scalar(NORM_FLOOR).sqrt();
        rows / norms
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData, Tolerance};

    use super::*;

    fn codebook(device: &Device, normalize: bool) -> Codebook {
        let weight = Tensor::from_floats([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]], device);
        Codebook { weight: Param::from_tensor(weight), normalize }
    }

    fn latents(device: &Device) -> Tensor<2> {
        Tensor::<2>::from_floats([[0.5, 0.75], [3.0, 0.5]], device).require_grad()
    }

    fn near(actual: Tensor<2>, wanted: [[f32; 2]; 2]) {
        let tolerance = Tolerance::absolute(1e-6);
        actual.into_data().assert_approx_eq::<f32>(&TensorData::from(wanted), tolerance);
    }

    #[test]
    fn straight_through_has_the_value_of_the_codes_and_copies_the_decoder_gradient() {
        let device = Device::flex().autodiff();
        let (codebook, z) = (codebook(&device, false), latents(&device));
        let quantized = codebook.quantize(z.clone());
        quantized.codes.into_data().assert_eq(&TensorData::from([1, 2]), false);
        near(quantized.straight_through.clone().inner(), [[1.0, 1.0], [4.0, 0.0]]);
        let decoder = Tensor::<2>::from_floats([[1.0, -2.0], [3.0, 0.5]], &device);
        let gradients = (quantized.straight_through * decoder).sum().backward();
        near(z.grad(&gradients).unwrap(), [[1.0, -2.0], [3.0, 0.5]]);
        assert!(codebook.weight.val().grad(&gradients).is_none());
    }

    #[test]
    fn the_codebook_term_moves_the_codes_and_nothing_else() {
        let device = Device::flex().autodiff();
        let (codebook, z) = (codebook(&device, false), latents(&device));
        let gradients = codebook.quantize(z.clone()).codebook_loss.backward();
        assert!(z.grad(&gradients).is_none());
        // d/de of mean (z - e)^2 over 4 numbers: (e - z) / 2; the unused first code does not move.
        let wanted = TensorData::from([[0.0f32, 0.0], [0.25, 0.125], [0.5, -0.25]]);
        let gradient = codebook.weight.val().grad(&gradients).unwrap().into_data();
        gradient.assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
    }

    #[test]
    fn the_commitment_term_moves_the_latents_and_nothing_else() {
        let device = Device::flex().autodiff();
        let (codebook, z) = (codebook(&device, false), latents(&device));
        let quantized = codebook.quantize(z.clone());
        let gradients = quantized.commitment_loss.backward();
        near(z.grad(&gradients).unwrap(), [[-0.25, -0.125], [-0.5, 0.25]]);
        assert!(codebook.weight.val().grad(&gradients).is_none());
        let [codes, commitment] = [quantized.codebook_loss, quantized.commitment_loss]
            .map(|term| term.into_scalar::<f32>());
        // (0.25 + 0.0625 + 1 + 0.25) / 4
        assert!((codes - 0.390_625).abs() < 1e-6 && codes == commitment, "{codes} {commitment}");
    }

    #[test]
    fn normalised_codes_are_compared_by_direction() {
        let device = Device::flex();
        let codebook = codebook(&device, true);
        let z = Tensor::<2>::from_floats([[0.1, 0.1], [0.3, 0.01]], &device);
        let quantized = codebook.quantize(z);
        quantized.codes.into_data().assert_eq(&TensorData::from([1, 2]), false);
        let half = 0.5f32.sqrt();
        near(quantized.straight_through, [[half, half], [1.0, 0.0]]);
    }
}
