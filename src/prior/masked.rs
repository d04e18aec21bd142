//! The masked prior (Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer"): every code from all that are
//! known, whatever their order. Its bound on the likelihood is that of an order-agnostic model (Hoogeboom et al. 2022,
//! "Autoregressive Diffusion Models"): the mean loss of the unknown codes, averaged over how many are unknown.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::ops::token_losses;
use crate::prior::{Conditions, DropoutSeeds, Gpt, PriorConfig};
use crate::rng::{Purpose, stream};

/// Masks of the estimate of the likelihood: with as many counts of unknown codes, evenly spaced.
const MASKS: usize = 8;

impl Gpt {
    /// Logits of the code at every position of a masked prior.
    ///
    /// # Shapes
    /// - seen: `[batch, n_codes]`, [`PriorConfig::mask_token`] where a code is unknown
    /// - output: `[batch * n_codes, codebook_size]`
    pub(super) fn masked_logits(
        &self,
        conditions: &Conditions,
        seen: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<2> {
        let x = self.through_blocks(self.embed(conditions, Some(seen), None), dropout);
        let [batch, sequence, width] = x.dims();
        let prefix = self.config().prefix();
        let of_codes = x.slice([0..batch, prefix..sequence, 0..width]);
        self.logits(of_codes.reshape([batch * (sequence - prefix), width]))
    }

    /// Nats of every code of `codes`, zero for those that are known in `seen`.
    ///
    /// # Shapes
    /// - seen, codes, output: `[batch, n_codes]`
    fn losses_of_unknown(
        &self,
        conditions: &Conditions,
        seen: Tensor<2, Int>,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> (Tensor<2>, Tensor<2>) {
        let [batch, n_codes] = codes.dims();
        let mut unknown = seen.clone().equal_elem(self.config().mask_token() as i32).float();
        let logits = self.masked_logits(conditions, seen, dropout);
        if logits.is_autodiff() && !unknown.is_autodiff() {
            unknown = Tensor::from_inner(unknown);
        }
        let losses = token_losses(logits, codes.reshape([batch * n_codes]));
        (losses.reshape([batch, n_codes]) * unknown.clone(), unknown)
    }

    /// The training loss: nats per unknown code, averaged over all of the batch, `[1]`.
    pub(super) fn masked_loss(
        &self,
        conditions: &Conditions,
        seen: Tensor<2, Int>,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<1> {
        let (losses, unknown) = self.losses_of_unknown(conditions, seen, codes, dropout);
        losses.sum() / unknown.sum().clamp_min(1.0)
    }

    /// Nats of each code by the bound of the likelihood; they sum to that of the image. An estimate by fixed masks, the
    /// same for every image.
    ///
    /// # Shapes
    /// - codes, output: `[batch, n_codes]`
    pub(super) fn masked_score(&self, conditions: &Conditions, codes: Tensor<2, Int>) -> Tensor<2> {
        let [batch, n_codes] = codes.dims();
        let device = codes.device();
        let masks = fixed_masks(n_codes);
        let n_masks = masks.len();
        let scores = masks.into_iter().map(|mask| {
            let n_unknown = mask.iter().filter(|unknown| **unknown).count();
            let seen = masked(codes.clone(), &mask.repeat(batch), self.config(), &device);
            let (losses, _) = self.losses_of_unknown(conditions, seen, codes.clone(), None);
            losses.mul_scalar(n_codes as f32 / n_unknown as f32 / n_masks as f32)
        });
        scores.reduce(|sum, score| sum + score).unwrap_or_else(|| codes.float())
    }
}

/// `codes` without those of `mask`, `[batch * n_codes]`.
///
/// # Shapes
/// - codes, output: `[batch, n_codes]`
pub(crate) fn masked(
    codes: Tensor<2, Int>,
    mask: &[bool],
    config: &PriorConfig,
    device: &Device,
) -> Tensor<2, Int> {
    let mask = Tensor::from_data(TensorData::new(mask.to_vec(), codes.dims()), device);
    codes.mask_fill(mask, config.mask_token() as i32)
}

/// Masks with evenly spaced counts of unknown codes, from few to nearly all.
fn fixed_masks(n_codes: usize) -> Vec<Vec<bool>> {
    let n_masks = MASKS.min(n_codes);
    let mask = |index: usize| {
        let n_unknown = ((2 * index + 1) * n_codes).div_ceil(2 * n_masks);
        let mut places: Vec<usize> = (0..n_codes).collect();
        stream(0, Purpose::Mask, 0, index as u64).shuffle(&mut places);
        let mut mask = vec![false; n_codes];
        places.into_iter().take(n_unknown).for_each(|place| mask[place] = true);
        mask
    };
    (0..n_masks).map(mask).collect()
}
