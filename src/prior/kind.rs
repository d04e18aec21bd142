//! The kinds of prior, behind one enum.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::prior::{CodeBatch, Conditions, DropoutSeeds, Gpt, PriorConfig, PriorKind};

/// One kind of prior with its weights.
#[derive(Module, Debug)]
pub enum Prior {
    /// Each code from the ones before it.
    Autoregressive(Gpt),
    /// Every code from all others that are known.
    Masked(Gpt),
}

impl Prior {
    /// A prior with initial weights; the same on every device.
    ///
    /// # Panics
    /// If `config` is one that [`PriorConfig::validate`] refuses.
    pub fn new(config: &PriorConfig, seed: u64, device: &Device) -> Self {
        let gpt = Gpt::new(config, seed, device);
        match config.kind {
            PriorKind::Autoregressive => Self::Autoregressive(gpt),
            PriorKind::Masked => Self::Masked(gpt),
        }
    }

    /// The shape it was built with.
    pub fn config(&self) -> &PriorConfig {
        match self {
            Self::Autoregressive(gpt) | Self::Masked(gpt) => gpt.config(),
        }
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        match self {
            Self::Autoregressive(gpt) | Self::Masked(gpt) => gpt.device(),
        }
    }

    /// The training loss: nats per code of `batch`, averaged over it, `[1]`. Without `dropout`, none is applied.
    pub fn loss(
        &self,
        conditions: &Conditions,
        batch: CodeBatch,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<1> {
        match self {
            Self::Autoregressive(gpt) => gpt.losses_of(conditions, batch, dropout).mean(),
            Self::Masked(gpt) => gpt.masked_loss(conditions, batch.seen, batch.targets, dropout),
        }
    }

    /// Negative log-likelihood of each code in nats; they sum to that of the image, of a masked prior to an upper bound.
    ///
    /// # Shapes
    /// - codes, output: `[batch, n_codes]`
    pub fn score(&self, conditions: &Conditions, codes: Tensor<2, Int>) -> Tensor<2> {
        match self {
            Self::Autoregressive(gpt) => gpt.code_losses(conditions, codes, None),
            Self::Masked(gpt) => gpt.masked_score(conditions, codes),
        }
    }

    /// Activations that the forward pass keeps per sequence for the backward pass: an estimate of training memory.
    pub fn activations(&self) -> usize {
        match self {
            Self::Autoregressive(gpt) | Self::Masked(gpt) => gpt.activations(),
        }
    }
}
