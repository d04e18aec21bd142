//! Loading recipes: from a file, or one of those embedded in the binary. Precedence: command line, file, preset,
//! default.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::overrides::{self, Override};
use super::{Recipe, json, unknown_key};
use crate::error::{Error, Result};

/// The recipes inside the binary: name and JSON text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("quickstart", include_str!("../../configs/quickstart.json")),
    ("emoji-64", include_str!("../../configs/emoji-64.json")),
    ("photos-64", include_str!("../../configs/photos-64.json")),
    ("fashion-mnist", include_str!("../../configs/fashion-mnist.json")),
    ("cifar10", include_str!("../../configs/cifar10.json")),
    ("birds", include_str!("../../configs/birds.json")),
];

/// Size limit of a recipe file. A real one has a few kilobytes; anything larger is not a recipe.
const MOST_BYTES: u64 = 1 << 20;

/// The names of the built-in recipes, as a message lists them.
pub(crate) fn built_in_names() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Recipe {
    /// Reads the recipe `config`, the name of a built-in one or a path, applies `overrides` and checks the result.
    ///
    /// # Errors
    /// A file that cannot be read or is not JSON, an unknown, duplicate or ill-typed key, a value out of range.
    pub fn load(config: &str, overrides: &[Override]) -> Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == config) {
            return Self::parse(text, &format!("the built-in recipe {name}"), overrides);
        }
        let path = Path::new(config);
        let text = read_text(path)?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// As [`Recipe::load`], from text in memory; `origin` names it in messages.
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Self> {
        let mut object = json::parse_strict(text, origin)?;
        unknown_key::check(&object, origin)?;
        overrides::apply(&mut object, overrides)?;
        let last_set = |key: &str| overrides.iter().rfind(|one| one.key() == key);
        let recipe = json::to_recipe(object, |key| {
            last_set(key).map_or(origin, |one| one.flag()).to_owned()
        })?;
        recipe.validate()?;
        Ok(recipe)
    }
}

/// Reads a file of at most [`MOST_BYTES`], and no more from a device or a pipe.
fn read_text(path: &Path) -> Result<String> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::file(
            path,
            format!(
                "there is no such recipe (a path, or one of the built-in {})",
                built_in_names()
            ),
        ),
        std::io::ErrorKind::InvalidData => Error::file(path, "is not a recipe: it is not text"),
        _ => Error::io("read", path, error),
    };
    let file = File::open(path).map_err(fail)?;
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(Error::file(
            path,
            format!("is not a recipe: it has more than {MOST_BYTES} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_that_does_not_exist_lists_the_built_in_ones() {
        let message = Recipe::load("configs/nowhere.json", &[]).unwrap_err().to_string();
        assert!(message.contains("configs/nowhere.json: there is no such recipe"), "{message}");
        assert!(message.contains("quickstart, emoji-64"), "{message}");
    }

    #[test]
    fn a_folder_a_binary_file_and_a_huge_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let load = |path: &Path| Recipe::load(path.to_str().unwrap(), &[]).unwrap_err().to_string();
        assert!(load(dir.path()).starts_with("cannot read"));
        let binary = dir.path().join("binary.json");
        std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        assert!(load(&binary).contains("it is not text"));
        let huge = dir.path().join("huge.json");
        std::fs::write(&huge, " ".repeat(2 << 20)).unwrap();
        assert!(load(&huge).contains("more than 1048576 bytes"));
    }

    #[test]
    fn a_file_fills_what_it_leaves_out_from_its_preset() {
        let text = r#"{"vqvae": {"preset": "resnet", "width": 32}, "prior": {"preset": "nano"}}"#;
        let recipe = Recipe::parse(text, "x.json", &[]).unwrap();
        assert_eq!((recipe.vqvae.width, recipe.vqvae.code_dim), (32, 8));
        assert_eq!(recipe.vqvae.channel_multipliers, [1, 2, 2]);
        assert_eq!((recipe.prior.layers, recipe.prior.width), (4, 128));
    }

    #[test]
    fn the_number_of_steps_changes_no_other_key() {
        let steps = |n: &str| [format!("prior.steps={n}").parse::<Override>().unwrap()];
        let short = Recipe::parse("{}", "x.json", &steps("20")).unwrap();
        let mut long = Recipe::parse("{}", "x.json", &steps("40")).unwrap();
        long.prior.steps = 20;
        assert_eq!(short, long);
    }
}
