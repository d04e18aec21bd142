//! Safe storage of bytes: atomic file replacement, and tensor files with a checksum over all content. What the tensors
//! mean is not known here.

pub mod atomic;
pub(in crate::checkpoint) mod container;
pub(in crate::checkpoint) mod digest;
