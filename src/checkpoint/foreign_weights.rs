//! Models with the weights of another project's file. A wrong file is refused by its first tensor that is missing or has
//! another shape, in the order of the layers, and with where the right one is to be had: vqgen downloads nothing.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;

use super::disk::foreign::read_wanted;
use super::tensors::named_tensor::NamedTensor;
use super::tensors::parameters;
use crate::error::{Error, Result};

/// Suffix of the names of variances; the square root of a negative one would only show as values that are not numbers.
const VARIANCE: &str = ".running_var";

/// Which file has the weights, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// What they are, as in "torchvision's vgg16".
    pub weights: &'static str,
    /// Where the file is to be had.
    pub url: &'static str,
}

/// `module` with the weights of the file at `path`: safetensors, or what `torch.save` wrote. `name_in_file` translates
/// the name of a parameter; parameters of which it gives `None` stay as they are, and tensors that are nothing's are
/// ignored.
///
/// # Errors
/// A file that cannot be read, or in which a tensor is missing, has another shape, or holds what is not a finite number
/// (of a variance: not negative).
pub fn load_foreign<M: Module>(
    module: M,
    path: &Path,
    origin: Origin,
    name_in_file: &dyn Fn(&str) -> Option<String>,
) -> Result<M> {
    let Origin { weights, url } = origin;
    let wrong = |what: String| {
        Error::file(path, format!("{what} (expected the weights of {weights}, from {url})"))
    };
    let shapes = parameters::shapes(&module)?;
    let of_file: BTreeMap<String, &[usize]> = shapes
        .iter()
        .filter_map(|(name, shape)| Some((name_in_file(name)?, shape.as_slice())))
        .collect();
    let found = read_wanted(path, &|name| of_file.contains_key(name))?;
    let mut found: BTreeMap<String, NamedTensor> =
        found.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();

    let mut tensors = Vec::with_capacity(shapes.len());
    for (own_name, shape) in &shapes {
        let Some(name) = name_in_file(own_name) else { continue };
        let tensor = found.remove(&name);
        let tensor = tensor.ok_or_else(|| wrong(format!("has no float tensor {name}")))?;
        if tensor.shape != *shape {
            return Err(wrong(format!(
                "tensor {name} has shape {:?}, expected {shape:?}",
                tensor.shape
            )));
        }
        if name.ends_with(VARIANCE)
            && let Some(value) = tensor.data.iter().find(|value| **value < 0.0)
        {
            return Err(Error::file(
                path,
                format!("{name} holds {value}, allowed are 0 and above"),
            ));
        }
        tensors.push(NamedTensor { name: own_name.clone(), ..tensor });
    }
    if tensors.len() < shapes.len() {
        let own = parameters::named(&module)?.into_iter();
        tensors.extend(own.filter(|tensor| name_in_file(&tensor.name).is_none()));
    }
    parameters::load(module, tensors, path)
}
