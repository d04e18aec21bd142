//! Vector quantization: the codebook, nearest-code assignment, and the codebook and commitment terms of Eq. 3 in van den
//! Oord et al. 2017. The vectors are the weights themselves, or what a learned linear map makes of frozen random ones
//! (Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", SimVQ): the
//! map moves all codes at once, so that none is left behind.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use super::{Assigned, CODEBOOK_TERM, COMMITMENT_TERM, LossTerm, Quantized};
use crate::ops::init::WeightInit;
use crate::ops::mean_squared_error;
use crate::ops::nearest::nearest_code;
use crate::tokenizer::{GradientEstimator, TokenizerConfig};

/// Lower bound of a norm, for all-zero vectors.
const NORM_FLOOR: f64 = 1e-12;

/// K vectors of dimension D.
#[derive(Module, Debug)]
pub struct Codebook {
    /// `[codes, code_dim]`.
    pub weight: Param<Tensor<2>>,
    /// SimVQ's map from a row of `weight` to a code vector: `weight · map`, `[code_dim, code_dim]`.
    pub map: Option<Param<Tensor<2>>>,
    /// Whether latents and codes are l2-normalised before they are compared and passed on.
    #[module(skip)]
    pub normalize: bool,
}

/// The nearest codes of some latents.
struct Chosen {
    /// `[n]`.
    codes: Tensor<1, Int>,
    /// Their vectors, with a gradient to the codebook, `[n, code_dim]`.
    vectors: Tensor<2>,
}

impl Codebook {
    /// Uniform in `±1 / codebook_size`, as in the paper's original code: all codes start near each other, and the
    /// latents pull them apart one by one; a wider initialisation leaves more of them unused. Normal where codes are
    /// normalised, so that directions are uniform. With a map both as in SimVQ's published code: normal of deviation
    /// `code_dim^-1/2`, and the map as PyTorch's linear layers.
    pub(in crate::tokenizer) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        let (dim, normalize) = (config.code_dim, config.normalize_codes);
        let shape = [config.codebook_size, dim];
        if config.codebook_map {
            let deviation = 1.0 / (dim as f32).sqrt();
            let weight = init.normal(shape, deviation);
            return Self { weight, map: Some(init.uniform([dim, dim], deviation)), normalize };
        }
        let weight = if normalize {
            init.normal(shape, 1.0)
        } else {
            init.uniform(shape, 1.0 / config.codebook_size as f32)
        };
        Self { weight, map: None, normalize }
    }

    /// A codebook whose vectors are `weight`, `[codes, code_dim]`.
    pub fn of_vectors(weight: Param<Tensor<2>>, normalize: bool) -> Self {
        Self { weight, map: None, normalize }
    }

    /// The code vectors as the decoder sees them, `[codes, code_dim]`.
    pub fn vectors(&self) -> Tensor<2> {
        self.made_of(self.weight.val())
    }

    /// Dimension of a code.
    pub(super) fn dim(&self) -> usize {
        let [_, dim] = self.weight.lazy_shape().dims();
        dim
    }

    /// Whether the codebook term has a gradient to anything.
    pub(super) fn learns_by_gradient(&self) -> bool {
        self.weight.is_require_grad() || self.map.as_ref().is_some_and(|map| map.is_require_grad())
    }

    /// The code vectors that `rows` of the weight become.
    ///
    /// # Shapes
    /// - `rows`, output: `[n, code_dim]`
    fn made_of(&self, rows: Tensor<2>) -> Tensor<2> {
        let rows = match &self.map {
            // In f32 whatever the precision elsewhere, as is the search.
            Some(map) => rows.matmul(map.val()),
            None => rows,
        };
        self.prepared(rows)
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
        self.made_of(self.weight.val().select(0, codes))
    }

    /// The nearest codes of [prepared](Self::prepared), detached latents, with their vectors.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    fn choose(&self, latents: Tensor<2>) -> Chosen {
        let vectors = self.vectors();
        let codes = nearest_code(latents, vectors.clone().detach());
        let vectors = match &self.map {
            // The gradient of the map is that of the chosen rows: all others would add zeros.
            Some(_) => self.lookup(codes.clone()),
            None => vectors.select(0, codes.clone()),
        };
        Chosen { codes, vectors }
    }

    /// Assigns codes, looks them up and computes both code terms: the mean of `|sg[z_e] - e|^2`, with a gradient to the
    /// codebook only, and that of `|z_e - sg[e]|^2`, without beta, with a gradient to the encoder only.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub fn quantize(&self, latents: Tensor<2>, estimator: GradientEstimator) -> Quantized {
        let latents = self.prepared(latents);
        let fixed_latents = latents.clone().detach();
        let Chosen { codes, vectors } = self.choose(fixed_latents.clone());
        let fixed = vectors.clone().detach();
        let commitment = mean_squared_error(latents.clone(), fixed.clone());
        let codebook = if self.learns_by_gradient() {
            mean_squared_error(fixed_latents.clone(), vectors)
        } else {
            commitment.clone().detach() // the same value
        };
        let straight_through = estimator.pass(latents, fixed);
        let terms = vec![
            LossTerm { name: CODEBOOK_TERM, value: codebook },
            LossTerm { name: COMMITMENT_TERM, value: commitment },
        ];
        let levels = vec![Assigned { latents: fixed_latents, codes }];
        Quantized { levels, straight_through, terms }
    }

    /// As [`Tokenizer::activations`](crate::tokenizer::Tokenizer::activations), of `n` latents.
    pub(super) fn activations(&self, n: usize) -> usize {
        3 * n * self.dim() // the chosen codes, their difference from the latents, what the decoder gets
    }

    /// Latents as compared with the codes: l2-normalised where the codebook is.
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
        Codebook::of_vectors(Param::from_tensor(weight), normalize)
    }

    fn latents(device: &Device) -> Tensor<2> {
        Tensor::<2>::from_floats([[0.5, 0.75], [3.0, 0.5]], device).require_grad()
    }

    fn quantize(codebook: &Codebook, latents: Tensor<2>) -> Quantized {
        codebook.quantize(latents, GradientEstimator::StraightThrough)
    }

    /// The codebook and commitment terms.
    fn terms(quantized: Quantized) -> [Tensor<1>; 2] {
        let values: Vec<_> = quantized.terms.into_iter().map(|term| term.value).collect();
        values.try_into().unwrap()
    }

    fn near(actual: Tensor<2>, wanted: [[f32; 2]; 2]) {
        let tolerance = Tolerance::absolute(1e-6);
        actual.into_data().assert_approx_eq::<f32>(&TensorData::from(wanted), tolerance);
    }

    #[test]
    fn straight_through_has_the_value_of_the_codes_and_copies_the_decoder_gradient() {
        let device = Device::flex().autodiff();
        let (codebook, z) = (codebook(&device, false), latents(&device));
        let quantized = quantize(&codebook, z.clone());
        quantized.levels[0].codes.clone().into_data().assert_eq(&TensorData::from([1, 2]), false);
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
        let [term, _] = terms(quantize(&codebook, z.clone()));
        let gradients = term.backward();
        assert!(z.grad(&gradients).is_none());
        // d/de of mean (z - e)^2 over 4 elements: (e - z) / 2; the unused first code does not move.
        let wanted = TensorData::from([[0.0f32, 0.0], [0.25, 0.125], [0.5, -0.25]]);
        let gradient = codebook.weight.val().grad(&gradients).unwrap().into_data();
        gradient.assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
    }

    #[test]
    fn the_commitment_term_moves_the_latents_and_nothing_else() {
        let device = Device::flex().autodiff();
        let (codebook, z) = (codebook(&device, false), latents(&device));
        let [codes, commitment] = terms(quantize(&codebook, z.clone()));
        let gradients = commitment.clone().backward();
        near(z.grad(&gradients).unwrap(), [[-0.25, -0.125], [-0.5, 0.25]]);
        assert!(codebook.weight.val().grad(&gradients).is_none());
        let [codes, commitment] = [codes, commitment].map(|term| term.into_scalar::<f32>());
        // (0.25 + 0.0625 + 1 + 0.25) / 4
        assert!((codes - 0.390_625).abs() < 1e-6 && codes == commitment, "{codes} {commitment}");
    }

    #[test]
    fn normalised_codes_are_compared_by_direction() {
        let device = Device::flex();
        let codebook = codebook(&device, true);
        let z = Tensor::<2>::from_floats([[0.1, 0.1], [0.3, 0.01]], &device);
        let quantized = quantize(&codebook, z);
        quantized.levels[0].codes.clone().into_data().assert_eq(&TensorData::from([1, 2]), false);
        let half = 0.5f32.sqrt();
        near(quantized.straight_through, [[half, half], [1.0, 0.0]]);
    }
}
