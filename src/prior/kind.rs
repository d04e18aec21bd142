//! The kinds of prior, behind one enum.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::ops::runs_on_host;
use crate::prior::{
    Conditions, Decoder, DeviceDecoder, DropoutSeeds, Gpt, HostDecoder, PriorConfig,
};

/// One kind of prior with its weights.
#[derive(Module, Debug)]
pub enum Prior {
    /// Each code from the ones before it.
    Autoregressive(Gpt),
}

impl Prior {
    /// A prior with initial weights; the same on every device.
    ///
    /// # Panics
    /// If `config` is one that [`PriorConfig::validate`] refuses.
    pub fn new(config: &PriorConfig, seed: u64, device: &Device) -> Self {
        Self::Autoregressive(Gpt::new(config, seed, device))
    }

    /// The shape it was built with.
    pub fn config(&self) -> &PriorConfig {
        match self {
            Self::Autoregressive(gpt) => gpt.config(),
        }
    }

    /// The training loss: nats per code, averaged over the batch, `[1]`. Without `dropout`, none is applied.
    ///
    /// # Shapes
    /// - codes: `[batch, n_codes]`
    pub fn loss(
        &self,
        conditions: &Conditions,
        codes: Tensor<2, Int>,
        dropout: Option<DropoutSeeds>,
    ) -> Tensor<1> {
        match self {
            Self::Autoregressive(gpt) => gpt.code_losses(conditions, codes, dropout).mean(),
        }
    }

    /// Negative log-likelihood of each code in nats; they sum to that of the image.
    ///
    /// # Shapes
    /// - codes, output: `[batch, n_codes]`
    pub fn score(&self, conditions: &Conditions, codes: Tensor<2, Int>) -> Tensor<2> {
        match self {
            Self::Autoregressive(gpt) => gpt.code_losses(conditions, codes, None),
        }
    }

    /// Activations that the forward pass keeps per sequence for the backward pass: an estimate of training memory.
    pub fn activations(&self) -> usize {
        match self {
            Self::Autoregressive(gpt) => gpt.activations(),
        }
    }

    /// A decoder for sampling, on the device of the weights. The model must not track gradients (`.valid()`), or every
    /// step would stay in memory.
    pub fn decoder(&self) -> Decoder<'_> {
        match self {
            Self::Autoregressive(gpt) if runs_on_host(&gpt.device()) => {
                Decoder::Host(Box::new(HostDecoder::new(gpt)))
            }
            Self::Autoregressive(gpt) => Decoder::Device(DeviceDecoder::new(gpt)),
        }
    }
}
