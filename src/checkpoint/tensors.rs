//! Between modules and tensors: named, on the host, in file layout. Files are not known here, except by name in
//! messages.

pub(in crate::checkpoint) mod layout;
pub(in crate::checkpoint) mod named_tensor;
pub(crate) mod parameter;
pub mod parameters;
pub(in crate::checkpoint) mod place;
