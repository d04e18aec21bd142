//! Quantizers: latents to code ids and back, behind one enum. How the vectors of a codebook are learned besides the
//! optimizer (moving averages, restarts) is separate, and not known here.

mod fsq;
mod residual;
mod vq;

pub use fsq::FiniteScalars;
pub use vq::Codebook;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::{GradientEstimator, QuantizerKind, TokenizerConfig};
use crate::ops::init::WeightInit;
use crate::ops::{rotation, straight_through};

/// Name of the mean of `|sg[z_e] - e|^2`.
const CODEBOOK_TERM: &str = "codebook";
/// Name of the mean of `|z_e - sg[e]|^2`.
const COMMITMENT_TERM: &str = "commitment";

/// A named loss term, unweighted, `[1]`.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Its name in the log.
    pub name: &'static str,
    /// The mean over the batch.
    pub value: Tensor<1>,
}

/// The weights of the loss terms that a quantizer may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TermWeights {
    /// Of the term that moves the codes to the latents; 0 where they are not learned by gradient.
    pub codebook: f64,
    /// Beta, of the term that moves the latents to the codes.
    pub commitment: f64,
}

/// What one level of a quantizer has assigned, over the flattened grid. Only the `residual` quantizer has several.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The latents as compared with the codes, detached, `[n, code_dim]`.
    pub latents: Tensor<2>,
    /// The code of each, `[n]`.
    pub codes: Tensor<1, Int>,
}

/// The result of quantizing, over the flattened grid.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// As many as codes per position.
    pub levels: Vec<Assigned>,
    /// The decoder's input, whose gradient the estimator passes to the latents, `[n, code_dim]`.
    pub straight_through: Tensor<2>,
    /// The quantizer's own loss terms, those of [`Quantizer::terms`].
    pub terms: Vec<LossTerm>,
}

/// A quantizer with its weights.
#[derive(Module, Debug)]
pub enum Quantizer {
    /// The nearest of K vectors.
    Vq(Codebook),
    /// Each dimension rounded to its levels.
    Fsq(FiniteScalars),
    /// A codebook per level, each for what those before it leave over.
    Residual(Vec<Codebook>),
}

impl Quantizer {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        match config.quantizer {
            QuantizerKind::Vq => Self::Vq(Codebook::new(config, init)),
            QuantizerKind::Fsq => Self::Fsq(FiniteScalars { levels: config.levels.clone() }),
            QuantizerKind::Residual => {
                Self::Residual((0..config.depth).map(|_| Codebook::new(config, init)).collect())
            }
        }
    }

    /// The loss terms of this kind with their weights, in the order of [`Quantized::terms`].
    pub fn terms(&self, weights: TermWeights) -> Vec<(&'static str, f64)> {
        match self {
            Self::Fsq(_) => Vec::new(),
            Self::Vq(_) | Self::Residual(_) => {
                vec![(CODEBOOK_TERM, weights.codebook), (COMMITMENT_TERM, weights.commitment)]
            }
        }
    }

    /// The codebooks, one per level; none for a quantizer without any.
    pub fn codebooks(&self) -> &[Codebook] {
        match self {
            Self::Vq(codebook) => std::slice::from_ref(codebook),
            Self::Fsq(_) => &[],
            Self::Residual(codebooks) => codebooks,
        }
    }

    /// The same, mutable.
    pub fn codebooks_mut(&mut self) -> &mut [Codebook] {
        match self {
            Self::Vq(codebook) => std::slice::from_mut(codebook),
            Self::Fsq(_) => &mut [],
            Self::Residual(codebooks) => codebooks,
        }
    }

    /// The codes of each latent, without gradient.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    /// - output: `[n, depth]`
    pub fn assign(&self, latents: Tensor<2>) -> Tensor<2, Int> {
        match self {
            Self::Vq(codebook) => codebook.assign(latents).unsqueeze_dim(1),
            Self::Fsq(scalars) => scalars.assign(latents).unsqueeze_dim(1),
            Self::Residual(codebooks) => residual::assign(codebooks, latents),
        }
    }

    /// The decoder's input for `codes`.
    ///
    /// # Shapes
    /// - `codes`: `[n, depth]`
    /// - output: `[n, code_dim]`
    pub fn lookup(&self, codes: Tensor<2, Int>) -> Tensor<2> {
        match self {
            Self::Vq(codebook) => codebook.lookup(codes.squeeze_dim(1)),
            Self::Fsq(scalars) => scalars.lookup(codes.squeeze_dim(1)),
            Self::Residual(codebooks) => residual::lookup(codebooks, codes),
        }
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of `n` latents.
    pub(super) fn activations(&self, n: usize) -> usize {
        match self {
            Self::Vq(codebook) => codebook.activations(n),
            Self::Fsq(scalars) => scalars.activations(n),
            Self::Residual(codebooks) => residual::activations(codebooks, n),
        }
    }

    /// Assigns codes, looks them up and computes the quantizer's loss terms.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub fn quantize(&self, latents: Tensor<2>, estimator: GradientEstimator) -> Quantized {
        match self {
            Self::Vq(codebook) => codebook.quantize(latents, estimator),
            Self::Fsq(scalars) => scalars.quantize(latents),
            Self::Residual(codebooks) => residual::quantize(codebooks, latents, estimator),
        }
    }
}

impl GradientEstimator {
    /// The values of `vectors`, with a gradient to `latents` only.
    ///
    /// # Shapes
    /// - `latents`, `vectors`, output: `[n, code_dim]`
    fn pass(self, latents: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
        match self {
            Self::StraightThrough => straight_through(latents, vectors),
            Self::Rotation => rotation(latents, vectors),
        }
    }
}
