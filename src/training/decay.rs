//! Which parameters get weight decay, in both stages.

use crate::checkpoint::Place;

/// The layers whose `weight` decays.
const LAYERS: [&str; 3] = ["Linear", "Conv2d", "ConvTranspose2d"];

/// Whether the parameter at `place` gets weight decay: the matrices of linears and the kernels of convolutions do; biases,
/// norms, embeddings, positions and codebooks do not (as in GPT-2's successors; decaying a table pulls on rows
/// that a batch never touched). A tied head is the token table, and goes with it.
pub(in crate::training) fn decays(place: &Place) -> bool {
    place.layer().is_some_and(|(layer, field)| field == "weight" && LAYERS.contains(&layer))
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::prior::{Positions, Prior, PriorConfig};
    use crate::tokenizer::{QuantizerKind, Tokenizer, TokenizerConfig, TokenizerPreset};

    /// Every parameter with its number of axes and whether it decays.
    #[derive(Default)]
    struct Decays(Place, Vec<(String, usize, bool)>);

    impl ModuleVisitor for Decays {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.1.push((self.0.name(), D, decays(&self.0)));
        }
    }

    fn parameters<M: Module>(module: &M) -> Vec<(String, usize, bool)> {
        let mut visitor = Decays::default();
        module.visit(&mut visitor);
        visitor.1
    }

    fn gpt(positions: Positions, tie_weights: bool) -> Prior {
        let config = PriorConfig {
            codebook_size: 11,
            n_classes: 2,
            grid_height: 2,
            grid_width: 3,
            layers: 1,
            heads: 2,
            width: 16,
            positions,
            tie_weights,
            ..PriorConfig::default()
        };
        Prior::new(&config, 0, &Device::flex())
    }

    #[test]
    fn only_matrices_of_linears_decay() {
        let parameters = parameters(&gpt(Positions::Learned, false));
        let decayed = parameters.into_iter().filter(|(.., decays)| *decays);
        let decayed: Vec<String> = decayed.map(|(path, ..)| path).collect();
        let block = |name: &str| format!("blocks.0.{name}.weight");
        let mut expected =
            ["attention.qkv", "attention.out", "mlp.up", "mlp.down"].map(block).to_vec();
        expected.push("head.weight".to_string());
        assert_eq!(decayed, expected);
    }

    #[test]
    fn of_a_prior_every_matrix_decays_but_the_tables_of_tokens_and_positions() {
        for positions in [Positions::Learned, Positions::Rotary] {
            for tie_weights in [false, true] {
                for (path, rank, decays) in parameters(&gpt(positions, tie_weights)) {
                    let table = path == "token.weight" || path == "position";
                    assert_eq!(decays, rank == 2 && !table, "{path}");
                }
            }
        }
    }

    #[test]
    fn of_a_tokenizer_every_kernel_and_matrix_decays_but_the_codebook() {
        for preset in [
            TokenizerPreset::Plain,
            TokenizerPreset::Wide,
            TokenizerPreset::Resnet,
            TokenizerPreset::Resnet34,
        ] {
            let is_resnet = preset == TokenizerPreset::Resnet;
            let config = TokenizerConfig {
                image_size: 16,
                channels: 3,
                preset,
                width: 16,
                channel_multipliers: if is_resnet { vec![1, 1, 2, 2] } else { Vec::new() },
                residual_blocks: 1,
                residual_width: 4,
                halvings: 3,
                attention: is_resnet,
                codebook_size: 7,
                code_dim: 5,
                ..TokenizerConfig::default()
            };
            assert!(config.validate().is_ok(), "{config:?}");
            let parameters = parameters(&Tokenizer::new(&config, 0, &Device::flex()));
            assert!(parameters.iter().any(|(path, ..)| path == "codebook.weight"));
            for (path, rank, decays) in parameters {
                assert_eq!(decays, rank >= 2 && path != "codebook.weight", "{preset:?}: {path}");
            }
        }
    }

    #[test]
    fn neither_levels_of_codebooks_nor_their_maps_decay() {
        let config = TokenizerConfig {
            quantizer: QuantizerKind::Residual,
            depth: 2,
            codebook_map: true,
            ..TokenizerConfig::default()
        };
        let parameters = parameters(&Tokenizer::new(&config, 0, &Device::flex()));
        let of_codebooks = parameters.iter().filter(|(path, ..)| path.starts_with("codebook."));
        let of_codebooks: Vec<_> =
            of_codebooks.map(|(path, _, decays)| (&path[..], *decays)).collect();
        let names = ["codebook.0.weight", "codebook.0.map", "codebook.1.weight", "codebook.1.map"];
        assert_eq!(of_codebooks, names.map(|name| (name, false)));
    }
}
