//! Quantizers: latents to code ids and back, behind one enum. How the vectors of a codebook are learned besides the
//! optimizer (moving averages, restarts) is separate, and not known here.

mod vq;

pub use vq::Codebook;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::TokenizerConfig;
use crate::ops::init::WeightInit;

/// A named loss term, unweighted, `[1]`.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// Its name in the log.
    pub name: &'static str,
    /// The mean over the batch.
    pub value: Tensor<1>,
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
    /// The quantizer's own loss terms, those of [`Quantizer::TERMS`].
    pub terms: Vec<LossTerm>,
}

/// A quantizer with its weights.
#[derive(Module, Debug)]
pub enum Quantizer {
    /// The nearest of K learned vectors.
    Vq(Codebook),
}

impl Quantizer {
    /// Names of the loss terms of every quantizer, in the order of [`Quantized::terms`].
    pub const TERMS: [&'static str; 2] = ["codebook", "commitment"];

    pub(super) fn new(config: &TokenizerConfig, init: &mut WeightInit) -> Self {
        Self::Vq(Codebook::new(config, init))
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
