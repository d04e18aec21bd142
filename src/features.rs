//! Feature nets: how alike images are to a trained eye. Tensors in, tensors out; their weights come from files, which
//! they do not know, and are never trained.

mod builtin;
mod efficientnet;

pub use builtin::BuiltinNet;
pub use efficientnet::EfficientNet;
