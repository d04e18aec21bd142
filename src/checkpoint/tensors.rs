//! Modules to tensors and back: named, on the host, in the layout of files. No file is known here, except by name in
//! messages.

pub(in crate::checkpoint) mod layout;
pub(in crate::checkpoint) mod named_tensor;
pub mod parameters;
pub(in crate::checkpoint) mod place;
