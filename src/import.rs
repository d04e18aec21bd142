//! Tokenizers that other projects trained: their files become model files. Every project's names are translated to those
//! of taming-transformers, and from these on there is one table. The architecture is read off the shapes.
//!
//! What differs in the numbers: images are in [-1, 1] there and in [-0.5, 0.5] here, which a factor in the first and the
//! last convolution makes up for; two convolutions before the codebook become one; and a kernel that pads after the
//! image alone gets a row and a column of zeros in front.

mod architecture;
mod names;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use crate::checkpoint::{IMPORTED, Kind, ModelFile, NamedTensor, parameters, read_foreign};
use crate::error::{Error, Result};
use crate::tokenizer::{Tokenizer, TokenizerConfig};

pub use names::Project;

/// The tensors of a file, by their names in taming-transformers.
type Tensors = BTreeMap<String, NamedTensor>;

/// A tokenizer of another project.
#[derive(Debug)]
pub struct Imported {
    /// It as a model file, not yet saved.
    pub file: ModelFile,
    /// Whose layers it has.
    pub project: Project,
    /// Its architecture.
    pub config: TokenizerConfig,
    /// Tensors of the file that are no part of it.
    pub ignored: Vec<String>,
}

/// Reads the tokenizer in the file at `path`, safetensors or what `torch.save` wrote, for images of `image_size` pixels.
/// `device` computes nothing.
///
/// # Errors
/// A file that cannot be read, is of no known project, or lacks a tensor or has one of another shape; an image size that
/// the architecture cannot halve.
pub fn import_tokenizer(path: &Path, image_size: usize, device: &Device) -> Result<Imported> {
    let tensors = read_foreign(path)?;
    let Some(project) = Project::of(tensors.iter().map(|tensor| tensor.name.as_str())) else {
        let first = tensors.first().map_or("none", |tensor| tensor.name.as_str());
        return Err(Error::file(
            path,
            format!(
                "is no tokenizer of {} (its first tensor of floats is {first})",
                Project::listed()
            ),
        ));
    };
    let mut tensors = project.translated(tensors);
    let config = architecture::of_tensors(&tensors, project, image_size)
        .map_err(|reason| Error::file(path, reason))?;
    config.validate().map_err(|error| Error::file(path, error.to_string()))?;
    let model = Tokenizer::new(&config, 0, device);
    let mut own = Vec::new();
    for (name, shape) in parameters::shapes(&model)? {
        let tensor = weights::of_parameter(&name, &shape, &config, &mut tensors)
            .map_err(|reason| Error::file(path, reason))?;
        if let Some(value) = tensor.first_non_finite() {
            return Err(Error::file(path, format!("what becomes {name} holds {value}")));
        }
        own.push(tensor);
    }
    // Both were read for the convolution before them.
    for name in ["quant_conv.weight", "quant_conv.bias"] {
        tensors.remove(name);
    }
    let is_layer = |name: &&String| {
        ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."]
            .iter()
            .any(|part| name.starts_with(part))
    };
    if let Some(layer) = tensors.keys().find(is_layer) {
        let project = Project::Taming.name();
        return Err(Error::file(
            path,
            format!("has {layer} (in the names of {project}), for which vqgen has no layer"),
        ));
    }
    let file = ModelFile::new(Kind::Tokenizer, &config, own)?;
    let file = file.with(IMPORTED, project.name());
    Ok(Imported { file, project, config, ignored: tensors.into_keys().collect() })
}
