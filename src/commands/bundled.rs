//! The models inside the binary, which draw without any training.

use std::path::PathBuf;

use crate::checkpoint::{Kind, ModelFile, Stage};
use crate::error::Result;

/// A trained tokenizer and prior, as `vqgen pack` writes them.
#[derive(Debug)]
pub(super) struct Bundled {
    pub(super) name: &'static str,
    /// The recipe of its run.
    pub(super) recipe: &'static str,
    tokenizer: &'static [u8],
    prior: &'static [u8],
}

static ALL: [Bundled; 1] = [Bundled {
    name: "emoji-64",
    recipe: include_str!("../../models/emoji-64/recipe.json"),
    tokenizer: include_bytes!("../../models/emoji-64/vqvae.safetensors"),
    prior: include_bytes!("../../models/emoji-64/prior.safetensors"),
}];

impl Bundled {
    /// The model called `name`.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|bundled| bundled.name == name)
    }

    /// The names of all models, as a message lists them.
    pub(super) fn names() -> String {
        ALL.iter().map(|bundled| bundled.name).collect::<Vec<_>>().join(", ")
    }

    /// The model of a stage.
    ///
    /// # Errors
    /// Those of [`ModelFile::from_bytes`].
    pub(super) fn load(&self, stage: Stage) -> Result<ModelFile> {
        let bytes = match stage {
            Stage::Vqvae => self.tokenizer,
            Stage::Prior => self.prior,
        };
        let source =
            PathBuf::from(format!("{}.safetensors of the model {}", stage.name(), self.name));
        ModelFile::from_bytes(source, bytes.to_vec(), Kind::of(stage))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::checkpoint::check_prior;
    use crate::recipe::Recipe;

    #[test]
    fn the_pieces_of_every_model_belong_together() {
        for bundled in &ALL {
            let (tokenizer, prior) =
                (bundled.load(Stage::Vqvae).unwrap(), bundled.load(Stage::Prior).unwrap());
            check_prior("sample", &prior, &tokenizer).unwrap();
            let recipe = Recipe::parse(bundled.recipe, bundled.name, &[]).unwrap();
            assert_eq!(recipe.name, bundled.name);
        }
        assert!(Bundled::find("emoji-64").is_some() && Bundled::find("emoji").is_none());
        assert_eq!(Bundled::names(), "emoji-64");
    }
}
