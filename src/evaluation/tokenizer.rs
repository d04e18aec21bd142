//! Reconstruction quality of a tokenizer on a split, and its codebook usage.

use super::{
    ImageShape, mean, mse_per_image, perplexities, perplexity_of_all, psnr_db, ssim_per_image,
    usage,
};
use crate::codec::{Codec, RoundTrip};
use crate::data::{Batch, Dataset, Split, View, pixels};
use crate::error::Result;
use crate::perceptual::FeatureNet;

/// The metrics of a tokenizer on a split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenizerScores {
    /// Number of images.
    pub n_images: usize,
    /// Mean squared error on the [0, 1] scale, of the decoder's output before clamping.
    pub mse: f64,
    /// The MSE divided by the variance of the training pixels.
    pub nmse: f64,
    /// Mean over the images of the PSNR of each, in dB, of the reconstruction as written (8 bits, clamped).
    pub psnr_db: f64,
    /// Mean over the images of the SSIM of each, likewise; `None` for images below 11 pixels.
    pub ssim: Option<f64>,
    /// Mean over the images of their distance by a feature net, likewise, if requested.
    pub perceptual: Option<f64>,
    /// How often each code was used, level by level, `[depth, codebook_size]`.
    pub counts: Vec<u64>,
    /// Number of codes of a level.
    pub codebook_size: usize,
    /// The codes, `[images, height, width, depth]` in the order of the split.
    pub codes: Vec<u16>,
}

impl TokenizerScores {
    /// Codes that were used.
    pub(crate) fn codes_used(&self) -> usize {
        usage(&self.counts)
    }

    /// Exponential of the entropy of the code frequencies, averaged over the levels: 1 to the codebook size.
    pub(crate) fn perplexity(&self) -> f64 {
        perplexity_of_all(&self.perplexities())
    }

    /// The same of each level.
    pub(crate) fn perplexities(&self) -> Vec<f64> {
        perplexities(&self.counts, self.codebook_size)
    }
}

/// Passes every image of `split` through the tokenizer, `batch_size` at a time, calling `each` with the number done.
/// SSIM, which costs more than the rest, only if requested, and so the distance by `features`, a net without autodiff.
///
/// # Errors
/// As [`Batch::of`].
pub(crate) fn score_tokenizer(
    codec: Codec<'_>,
    dataset: &Dataset,
    split: Split,
    batch_size: usize,
    with_ssim: bool,
    features: Option<&FeatureNet>,
    each: &mut dyn FnMut(usize),
) -> Result<TokenizerScores> {
    let (size, channels) = (dataset.image_size(), dataset.channels());
    let shape = ImageShape { height: size, width: size, channels };
    let n_images = dataset.len(split);
    let mut all_codes = Vec::with_capacity(n_images * codec.config().n_codes());
    let (mut errors, mut psnrs) = (Vec::with_capacity(n_images), Vec::with_capacity(n_images));
    let mut ssims = Vec::new();
    let mut distance = 0.0;
    let indices: Vec<usize> = (0..n_images).collect();
    for part in indices.chunks(batch_size) {
        let batch = Batch::of(dataset, split, part, View::AS_IS)?;
        let RoundTrip { codes, values: decoded } = codec.round_trip(batch.pixels.clone());
        all_codes.extend(codes);
        errors.extend(mse_per_image(&batch.pixels, &decoded, shape.image_len()));
        let written = pixels::to_model(&pixels::to_u8(&decoded));
        let mse = mse_per_image(&batch.pixels, &written, shape.image_len());
        psnrs.extend(mse.into_iter().map(psnr_db));
        if with_ssim && let Some(ssim) = ssim_per_image(&batch.pixels, &written, shape, -0.5) {
            ssims.extend(ssim);
        }
        if let Some(net) = features {
            let [x, y] = [written, batch.pixels].map(|values| codec.images(values));
            distance += f64::from(net.distance(x, y).into_scalar::<f32>()) * part.len() as f64;
        }
        each(psnrs.len());
    }
    let (codebook_size, depth) = (codec.config().codebook_size, codec.config().depth);
    let mut counts = vec![0u64; depth * codebook_size];
    for position in all_codes.chunks_exact(depth) {
        for (level, code) in position.iter().enumerate() {
            counts[level * codebook_size + usize::from(*code)] += 1;
        }
    }
    let mse = mean(&errors);
    Ok(TokenizerScores {
        n_images,
        mse,
        nmse: mse / dataset.variance(),
        psnr_db: mean(&psnrs),
        ssim: (!ssims.is_empty()).then(|| mean(&ssims)),
        perceptual: features.map(|_| distance / n_images as f64),
        counts,
        codebook_size,
        codes: all_codes,
    })
}
