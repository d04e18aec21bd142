//! From a model file to the model, where the file may be forged: the parameter count of its configuration is compared
//! with its tensors before memory of that size is allocated.

use burn::module::Module;
use serde::de::DeserializeOwned;

use super::model_file::ModelFile;
use crate::checkpoint::tensors::parameters;
use crate::error::{Error, Result};
use crate::prior::PriorConfig;
use crate::tokenizer::TokenizerConfig;

/// The shape of a model, as the metadata of its file holds it.
pub trait ModelConfig: DeserializeOwned {
    /// Refuses shapes that cannot be built.
    fn check(&self) -> Result<()>;
}

impl ModelConfig for TokenizerConfig {
    fn check(&self) -> Result<()> {
        self.validate()
    }
}

impl ModelConfig for PriorConfig {
    fn check(&self) -> Result<()> {
        self.validate()
    }
}

impl ModelFile {
    /// The configuration, validated.
    ///
    /// # Errors
    /// A configuration that does not parse or is not valid.
    pub fn checked_config<C: ModelConfig>(&self) -> Result<C> {
        let config: C = self.config()?;
        config
            .check()
            .map_err(|e| Error::file(self.source(), format!("config in the metadata: {e}")))?;
        Ok(config)
    }

    /// The model that `new` builds from the configuration, with the weights of the file. `new` is called for a valid
    /// configuration only, and must leave the parameters uninitialised, as the model may have any size: they are
    /// counted first.
    ///
    /// # Errors
    /// A configuration that is not valid or not that of the tensors, or what [`ModelFile::load_into`] refuses.
    pub fn build<C: ModelConfig, M: Module>(&self, new: impl FnOnce(&C) -> M) -> Result<M> {
        let config: C = self.checked_config()?;
        let model = new(&config);
        let described = parameters::count(&model);
        let held: u64 = self.tensors().iter().map(|tensor| tensor.data.len() as u64).sum();
        if described != held {
            return Err(Error::file(
                self.source(),
                format!(
                    "config in the metadata describes a model of {described} parameters, the tensors hold {held}"
                ),
            ));
        }
        self.clone().load_into(model)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fmt::Debug;

    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::checkpoint::{Kind, NamedTensor};
    use crate::prior::{Gpt, Positions, Prior};
    use crate::tokenizer::{Tokenizer, TokenizerPreset};

    fn config() -> PriorConfig {
        PriorConfig {
            codebook_size: 4,
            grid_height: 2,
            grid_width: 2,
            layers: 1,
            heads: 1,
            width: 4,
            ..PriorConfig::default()
        }
    }

    fn tensors() -> Vec<NamedTensor> {
        let gpt = Prior::new(&config(), 0, &Device::flex());
        parameters::named(&gpt).unwrap()
    }

    /// How many parameters are initialised.
    fn initialised<M: Module>(module: &M) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(param.is_initialized());
            }
        }
        let mut count = Count(0);
        module.visit(&mut count);
        count.0
    }

    #[test]
    fn the_model_of_the_file_is_built_and_initial_weights_are_not_drawn_for_it() {
        let file = ModelFile::new(Kind::Prior, &config(), tensors()).unwrap();
        let mut fresh = None;
        let new = |config: &PriorConfig| {
            fresh.insert(Gpt::new(config, 1, &Device::flex().autodiff())).clone()
        };
        let gpt = file.build(new).unwrap();
        assert_eq!(parameters::named(&gpt).unwrap(), tensors());
        // Clones share their initialisation.
        assert_eq!(initialised(&fresh.unwrap()), 0);
        assert!(gpt.norm.weight.val().is_require_grad());
    }

    #[test]
    fn a_configuration_that_is_not_that_of_the_tensors_is_never_initialised() {
        let huge = PriorConfig { width: 65_536, layers: 256, ..config() };
        let file = ModelFile::new(Kind::Prior, &huge, tensors()).unwrap();
        let mut fresh = None;
        let new =
            |config: &PriorConfig| fresh.insert(Prior::new(config, 0, &Device::flex())).clone();
        let message = file.build(new).unwrap_err().to_string();
        assert!(message.contains("the tensors hold 304"), "{message}");
        assert_eq!(initialised(&fresh.unwrap()), 0);
    }

    #[test]
    fn a_configuration_that_cannot_be_built_is_never_built() {
        let broken = PriorConfig { layers: 0, ..config() };
        let file = ModelFile::new(Kind::Prior, &broken, tensors()).unwrap();
        let built = file.build(|_: &PriorConfig| -> Prior { panic!("built") });
        let message = built.unwrap_err().to_string();
        assert!(message.contains("prior.layers is 0"), "{message}");
    }

    /// Checks that `module` is uninitialised, and that its parameter count is that of its tensors.
    fn counted_before_it_is_there<M: Module>(module: &M, what: &dyn Debug) {
        let counted = parameters::count(module);
        assert_eq!(initialised(module), 0, "{what:?}");
        let tensors = parameters::named(module).unwrap();
        let held: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
        assert_eq!(counted, held as u64, "{what:?}");
    }

    #[test]
    fn the_numbers_of_a_tokenizer_of_any_shape_are_counted_before_it_is_in_memory() {
        let base = TokenizerConfig {
            image_size: 32,
            channels: 3,
            preset: TokenizerPreset::Plain,
            width: 16,
            residual_blocks: 2,
            residual_width: 6,
            halvings: 3,
            codebook_size: 11,
            code_dim: 5,
            ..TokenizerConfig::default()
        };
        let resnet34 = TokenizerConfig { preset: TokenizerPreset::Resnet34, ..base.clone() };
        let mut configs =
            vec![resnet34.clone(), TokenizerConfig { residual_blocks: 0, ..resnet34 }];
        for halvings in 1..=5 {
            for residual_blocks in [0, 1, 3] {
                for channels in [1, 3] {
                    let plain =
                        TokenizerConfig { halvings, residual_blocks, channels, ..base.clone() };
                    let resnet = TokenizerConfig {
                        preset: TokenizerPreset::Resnet,
                        channel_multipliers: [1, 2, 2, 1, 3, 1][..=halvings].to_vec(),
                        attention: channels == 3,
                        ..plain.clone()
                    };
                    configs.extend([plain, resnet]);
                }
            }
        }
        for config in configs {
            assert!(config.validate().is_ok(), "{config:?}");
            counted_before_it_is_there(&Tokenizer::new(&config, 0, &Device::flex()), &config);
        }
    }

    #[test]
    fn the_numbers_of_a_prior_of_any_shape_are_counted_before_it_is_in_memory() {
        for positions in [Positions::Learned, Positions::Rotary] {
            for tie_weights in [false, true] {
                for depth in [1, 2] {
                    let config = PriorConfig {
                        n_classes: 3,
                        grid_width: 5,
                        layers: 3,
                        heads: 2,
                        width: 8,
                        depth,
                        positions,
                        tie_weights,
                        ..config()
                    };
                    assert_eq!(config.n_codes(), 10 * depth);
                    if depth > 1 && positions == Positions::Rotary {
                        assert!(config.validate().is_err());
                        continue;
                    }
                    assert!(config.validate().is_ok(), "{config:?}");
                    counted_before_it_is_there(&Prior::new(&config, 0, &Device::flex()), &config);
                }
            }
        }
    }
}
