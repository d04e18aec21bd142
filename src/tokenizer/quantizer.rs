//! Quantizers: latents to code ids and back, behind one enum. How the vectors of a codebook are learned besides the
//! optimizer (moving averages, restarts) is separate, and not known here.

mod vq;

pub use vq::Codebook;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::TokenizerConfig;
use crate::ops::init::WeightInit;

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

/// The result of quantizing, over the flattened grid.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The code of each position, `[n]`.
    pub codes: Tensor<1, Int>,
    /// The latents as compared with the codes, detached, `[n, code_dim]`.
    pub latents: Tensor<2>,
    /// The decoder's input, whose gradient is passed straight through to the latents, `[n, code_dim]`.
    pub straight_through: Tensor<2>,
    /// The quantizer's own loss terms, those of [`Quantizer::terms`].
    pub terms: Vec<LossTerm>,
}

/// A quantizer with its weights.
#[derive(Module, Debug)]
pub enum Quantizer {
    /// The nearest of K learned vectors.
    Vq(Codebook),
}

impl Quantizer {
    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        Self::Vq(Codebook::new(config, init))
    }

    /// The loss terms of this kind with their weights, in the order of [`Quantized::terms`].
    pub fn terms(&self, weights: TermWeights) -> Vec<(&'static str, f64)> {
        match self {
            Self::Vq(_) => {
                vec![(CODEBOOK_TERM, weights.codebook), (COMMITMENT_TERM, weights.commitment)]
            }
        }
    }

    /// The table of code vectors, where the quantizer has one.
    pub fn codebook(&self) -> Option<&Codebook> {
        match self {
            Self::Vq(codebook) => Some(codebook),
        }
    }

    /// The same, mutable.
    pub fn codebook_mut(&mut self) -> Option<&mut Codebook> {
        match self {
            Self::Vq(codebook) => Some(codebook),
        }
    }

    /// The code of each latent, without gradient.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    /// - output: `[n]`
    pub fn assign(&self, latents: Tensor<2>) -> Tensor<1, Int> {
        match self {
            Self::Vq(codebook) => codebook.assign(latents),
        }
    }

    /// The decoder's input for `codes`.
    ///
    /// # Shapes
    /// - `codes`: `[n]`
    /// - output: `[n, code_dim]`
    pub fn lookup(&self, codes: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Vq(codebook) => codebook.lookup(codes),
        }
    }

    /// As [`Tokenizer::activations`](super::Tokenizer::activations), of `n` latents.
    pub(super) fn activations(&self, n: usize) -> usize {
        match self {
            Self::Vq(codebook) => codebook.activations(n),
        }
    }

    /// Assigns codes, looks them up and computes the quantizer's loss terms.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub fn quantize(&self, latents: Tensor<2>) -> Quantized {
        match self {
            Self::Vq(codebook) => codebook.quantize(latents),
        }
    }
}
