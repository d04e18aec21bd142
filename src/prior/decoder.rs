//! Decoding. Of an autoregressive prior each position is computed once, and later ones read its keys and values: both of
//! its decoders give the logits of [`Gpt::forward`](super::Gpt::forward), up to rounding.

mod device;
mod host;
mod masked;

use crate::ops::runs_on_host;
use crate::prior::Gpt;

pub use device::DeviceDecoder;
pub use host::HostDecoder;
pub use masked::MaskedDecoder;

/// A network and the sequences it continues, by where it computes.
#[derive(Debug)]
pub enum Decoder<'a> {
    /// On the CPU device: slices.
    Host(Box<HostDecoder<'a>>),
    /// On any other: tensors.
    Device(DeviceDecoder<'a>),
}

impl<'a> Decoder<'a> {
    /// For the device of the weights. The network must not track gradients (`.valid()`), or every step would stay in
    /// memory.
    pub fn new(gpt: &'a Gpt) -> Self {
        match runs_on_host(&gpt.device()) {
            true => Self::Host(Box::new(HostDecoder::new(gpt))),
            false => Self::Device(DeviceDecoder::new(gpt)),
        }
    }
}
