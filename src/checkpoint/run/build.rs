//! From a model file to the model, when the file may lie: its configuration is compared with its tensors before
//! anything of the size it announces is built.

use burn::module::Module;
use serde::de::DeserializeOwned;

use super::model_file::ModelFile;
use crate::error::{Error, Result};
use crate::prior::PriorConfig;
use crate::tokenizer::TokenizerConfig;

/// The shape of a model, as the metadata of its file holds it.
pub trait ModelConfig: DeserializeOwned {
    /// Refuses shapes that cannot be built.
    fn check(&self) -> Result<()>;

    /// Numbers in all parameters of the model; asked for only after [`ModelConfig::check`].
    fn n_parameters(&self) -> u64;
}

impl ModelConfig for TokenizerConfig {
    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn n_parameters(&self) -> u64 {
        self.n_parameters()
    }
}

impl ModelConfig for PriorConfig {
    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn n_parameters(&self) -> u64 {
        self.n_parameters()
    }
}

impl ModelFile {
    /// The configuration, if a model can have it.
    ///
    /// # Errors
    /// A configuration that does not parse or that its kind of model refuses.
    pub fn checked_config<C: ModelConfig>(&self) -> Result<C> {
        let config: C = self.config()?;
        config
            .check()
            .map_err(|e| Error::file(self.source(), format!("config in the metadata: {e}")))?;
        Ok(config)
    }

    /// The model that `new` makes of the configuration, with the weights of the file. `new` is only called for a
    /// configuration of as many numbers as the file holds.
    ///
    /// # Errors
    /// A configuration that is not valid or not that of the tensors, or what [`ModelFile::load_into`] refuses.
    pub fn build<C: ModelConfig, M: Module>(&self, new: impl FnOnce(&C) -> M) -> Result<M> {
        let config: C = self.checked_config()?;
        let described = config.n_parameters();
        let held: u64 = self.tensors().iter().map(|tensor| tensor.data.len() as u64).sum();
        if described != held {
            return Err(Error::file(
                self.source(),
                format!(
                    "config in the metadata describes a model of {described} numbers, the tensors hold {held}"
                ),
            ));
        }
        self.clone().load_into(new(&config))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::checkpoint::{Kind, NamedTensor};
    use crate::prior::{Positions, Prior};

    fn config() -> PriorConfig {
        PriorConfig {
            codebook_size: 4,
            n_classes: 0,
            grid_height: 2,
            grid_width: 2,
            depth: 1,
            layers: 1,
            heads: 1,
            width: 4,
            dropout: 0.0,
            positions: Positions::Learned,
            tie_weights: false,
        }
    }

    fn tensors() -> Vec<NamedTensor> {
        let gpt = Prior::new(&config(), 0, &Device::flex());
        crate::checkpoint::parameters::named(&gpt).unwrap()
    }

    #[test]
    fn the_model_of_the_file_is_built() {
        let file = ModelFile::new(Kind::Prior, &config(), tensors()).unwrap();
        let gpt = file.build(|config| Prior::new(config, 1, &Device::flex())).unwrap();
        assert_eq!(crate::checkpoint::parameters::named(&gpt).unwrap(), tensors());
    }

    #[test]
    fn a_configuration_that_is_not_that_of_the_tensors_is_never_built() {
        let huge = PriorConfig { width: 65_536, layers: 256, ..config() };
        let broken = PriorConfig { layers: 0, ..config() };
        for (config, expected) in [(huge, "the tensors hold 304"), (broken, "prior.layers is 0")] {
            let file = ModelFile::new(Kind::Prior, &config, tensors()).unwrap();
            let built = file.build(|_: &PriorConfig| -> Prior { panic!("built") });
            let message = built.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
