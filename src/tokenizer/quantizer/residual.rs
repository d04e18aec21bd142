//! Residual vector quantization (Zeghidour et al. 2021, "SoundStream", algorithm 1): each codebook quantizes what those
//! before it leave over, and the decoder gets the sum of the chosen vectors.

use burn::tensor::{Int, Tensor};

use super::{Assigned, CODEBOOK_TERM, COMMITMENT_TERM, Codebook, LossTerm, Quantized};
use crate::ops::residual::residual_codes;
use crate::ops::{mean_squared_error, with_gradient};
use crate::tokenizer::GradientEstimator;

/// The codes of each latent, without gradient.
///
/// # Shapes
/// - `latents`: `[n, code_dim]`
/// - output: `[n, depth]`
pub(super) fn assign(codebooks: &[Codebook], latents: Tensor<2>) -> Tensor<2, Int> {
    let vectors = codebooks.iter().map(|codebook| codebook.vectors().detach()).collect();
    let found = residual_codes(latents.detach(), vectors);
    Tensor::stack(found.levels.into_iter().map(|(_, codes)| codes).collect(), 1)
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
    let vectors = codebooks.iter().map(|codebook| codebook.vectors().detach()).collect();
    let found = residual_codes(latents.clone().detach(), vectors);
    let levels: Vec<Assigned> =
        (found.levels.into_iter()).map(|(latents, codes)| Assigned { latents, codes }).collect();
    // What a level leaves over is the distance of the latents to the sum of the vectors so far, which is fixed.
    let numbers = (levels.len() * found.left_over.shape().num_elements()) as f64;
    let gradient = found.left_over.mul_scalar(2.0 / numbers);
    let commitment = with_gradient(latents.clone(), found.error.clone(), gradient);
    let of_level = |(codebook, level): (&Codebook, &Assigned)| {
        mean_squared_error(level.latents.clone(), codebook.lookup(level.codes.clone()))
    };
    let codebook = if codebooks.iter().any(Codebook::learns_by_gradient) {
        Tensor::cat(codebooks.iter().zip(&levels).map(of_level).collect(), 0).mean()
    } else {
        found.error // the same value
    };
    let straight_through = estimator.pass(latents, found.vectors);
    let terms = vec![
        LossTerm { name: CODEBOOK_TERM, value: codebook },
        LossTerm { name: COMMITMENT_TERM, value: commitment },
    ];
    Quantized { levels, straight_through, terms }
}

/// As [`Tokenizer::activations`](crate::tokenizer::Tokenizer::activations), of `n` latents.
pub(super) fn activations(codebooks: &[Codebook], n: usize) -> usize {
    let dim = codebooks.first().map_or(0, Codebook::dim);
    // Of each level what it quantizes; what they leave over together; what the decoder gets.
    (codebooks.len() + 2) * n * dim
}
