//! Decoding: each position is computed once, and later ones read its keys and values. Both decoders give the logits of
//! [`Gpt::forward`](super::Gpt::forward), up to rounding.

mod device;
mod host;

pub use device::DeviceDecoder;
pub use host::HostDecoder;

/// A network and the sequences it continues, by where it computes.
#[derive(Debug)]
pub enum Decoder<'a> {
    /// On the CPU device: slices.
    Host(Box<HostDecoder<'a>>),
    /// On any other: tensors.
    Device(DeviceDecoder<'a>),
}
