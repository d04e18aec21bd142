//! Safe storage of bytes: atomic file replacement, tensor files with a checksum over all content, and weights
//! that other projects wrote. What the tensors mean is not known here.

pub mod atomic;
pub(in crate::checkpoint) mod container;
pub(in crate::checkpoint) mod digest;
pub(in crate::checkpoint) mod foreign;
