//! Bytes that are safe on the disk: files that appear whole or not at all, and tensor files that carry a checksum over
//! everything in them. What the tensors mean is not known here.

pub mod atomic;
pub(in crate::checkpoint) mod container;
pub(in crate::checkpoint) mod digest;
