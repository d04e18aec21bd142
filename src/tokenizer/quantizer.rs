//! Quantizers: latents to code ids and back, behind one enum. How the vectors of a codebook are learned beside the
//! optimizer (averages, restarts) is apart from what a quantizer is, and not known here.

mod vq;

pub use vq::Codebook;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::TokenizerConfig;
use crate::ops::init::WeightInit;

/// A named term of the loss, without its weight, `[1]`.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// As the log has it.
    pub name: &'static str,
    /// The mean over the batch.
    pub value: Tensor<1>,
}

/// What quantizing gives, all over the flattened grid.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The code of each position, `[n]`.
    pub codes: Tensor<1, Int>,
    /// The latents as they were compared, without gradient, `[n, code_dim]`.
    pub latents: Tensor<2>,
    /// What the decoder gets, with its gradient passed straight to the latents, `[n, code_dim]`.
    pub straight_through: Tensor<2>,
    /// The quantizer's own terms of the loss, those of [`Quantizer::TERMS`].
    pub terms: Vec<LossTerm>,
}

/// One kind of quantizer with its weights.
#[derive(Module, Debug)]
pub enum Quantizer {
    /// The nearest of K learned vectors.
    Vq(Codebook),
}

impl Quantizer {
    /// The names of the terms of every quantizer, in the order of [`Quantized::terms`].
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

    /// The same, to be changed.
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

    /// What the decoder gets for `codes`.
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

    /// Assigns, looks up and computes the quantizer's terms of the loss.
    ///
    /// # Shapes
    /// - `latents`: `[n, code_dim]`
    pub fn quantize(&self, latents: Tensor<2>) -> Quantized {
        match self {
            Self::Vq(codebook) => codebook.quantize(latents),
        }
    }
}
