//! Residual vector quantization (Zeghidour et al. 2021, "SoundStream", algorithm 1): each codebook quantizes what those
//! before it leave over, and the decoder gets the sum of the chosen vectors.

use burn::tensor::{Int, Tensor};

use super::vq::Chosen;
use super::{Assigned, CODEBOOK_TERM, COMMITMENT_TERM, Codebook, LossTerm, Quantized};
use crate::ops::mean_squared_error;
use crate::tokenizer::GradientEstimator;

/// The codes of each latent, without gradient.
///
/// # Shapes
/// - `latents`: `[n, code_dim]`
/// - output: `[n, depth]`
pub(super) fn assign(codebooks: &[Codebook], latents: Tensor<2>) -> Tensor<2, Int> {
    let mut residual = latents.detach();
    let mut all = Vec::with_capacity(codebooks.len());
    for codebook in codebooks {
        let Chosen { codes, vectors } = codebook.choose(residual.clone());
        residual = residual - vectors.detach();
        all.push(codes);
    }
    Tensor::stack(all, 1)
}

/// The sum of the vectors of `codes`.
///
/// # Shapes
/// - `codes`: `[n, depth]`
/// - output: `[n, code_dim]`
pub(super) fn lookup(codebooks: &[Codebook], codes: Tensor<2, Int>) -> Tensor<2> {
    let [n, _] = codes.dims();
    let mut sum: Option<Tensor<2>> = None;
    for (level, codebook) in codebooks.iter().enumerate() {
        let of_level = codes.clone().slice([0..n, level..level + 1]).squeeze_dim(1);
        let vectors = codebook.lookup(of_level);
        sum = Some(match sum {
            Some(sum) => sum + vectors,
            None => vectors,
        });
    }
    sum.unwrap_or_else(|| unreachable!("a residual quantizer has at least two codebooks"))
}

/// As [`Quantizer::quantize`](super::Quantizer::quantize). Both terms are means over the levels. The gradient passes
/// once, through the sum: through each level by itself, it would reach the latents as many times as there are levels.
///
/// # Shapes
/// - `latents`: `[n, code_dim]`
pub(super) fn quantize(
    codebooks: &[Codebook],
    latents: Tensor<2>,
    estimator: GradientEstimator,
) -> Quantized {
    let mut residual = latents.clone().detach();
    let mut sum: Option<Tensor<2>> = None;
    let (mut levels, mut commitments, mut codebook_terms) = (Vec::new(), Vec::new(), Vec::new());
    for codebook in codebooks {
        let Chosen { codes, vectors } = codebook.choose(residual.clone());
        let fixed = vectors.clone().detach();
        let so_far = match sum {
            Some(sum) => sum + fixed.clone(),
            None => fixed.clone(),
        };
        // What is left over after this level is the distance of the latents to the sum so far.
        let commitment = mean_squared_error(latents.clone(), so_far.clone());
        codebook_terms.push(if codebook.learns_by_gradient() {
            mean_squared_error(residual.clone(), vectors)
        } else {
            commitment.clone().detach() // the same value
        });
        commitments.push(commitment);
        let left_over = residual.clone() - fixed;
        levels.push(Assigned { latents: residual, codes });
        (residual, sum) = (left_over, Some(so_far));
    }
    let sum = sum.unwrap_or_else(|| unreachable!("a residual quantizer has two levels or more"));
    let straight_through = estimator.pass(latents, sum);
    let mean = |terms: Vec<Tensor<1>>| Tensor::cat(terms, 0).mean();
    let terms = vec![
        LossTerm { name: CODEBOOK_TERM, value: mean(codebook_terms) },
        LossTerm { name: COMMITMENT_TERM, value: mean(commitments) },
    ];
    Quantized { levels, straight_through, terms }
}

/// As [`Tokenizer::activations`](crate::tokenizer::Tokenizer::activations), of `n` latents.
pub(super) fn activations(codebooks: &[Codebook], n: usize) -> usize {
    let dim = codebooks.first().map_or(0, Codebook::dim);
    // Of each level its residual, its vectors and the sum so far; what the decoder gets.
    (3 * codebooks.len() + 1) * n * dim
}
