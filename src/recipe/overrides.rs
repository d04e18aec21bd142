//! `--set a.b=value` and the flags that set a single key: overrides from the command line. It checks the key and gives
//! the value its JSON type; it does not know where recipes come from.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::unknown_key;
use crate::error::{Error, Result};
use crate::keys::{Key, Only};

/// One `key=value`. The value is JSON where it parses as JSON and a string otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    key: String,
    value: String,
    /// The flag that gave it, for messages.
    flag: &'static str,
}

impl Override {
    /// The override of `key` (as in `vqvae.steps`) by `flag`.
    pub fn of_flag(flag: &'static str, key: &str, value: impl ToString) -> Self {
        Self { key: key.to_owned(), value: value.to_string(), flag }
    }

    /// The flag that gave it: `--set`, or one for a single key.
    pub fn flag(&self) -> &'static str {
        self.flag
    }

    /// The full path of the key, as in `vqvae.steps`.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self::of_flag("--set", key.trim(), value.trim()))
            }
            _ => Err(Error::invalid(format!(
                "{text:?} is not of the form KEY=VALUE, as in vqvae.codebook_size=1024"
            ))),
        }
    }
}

/// Writes `overrides` into `object`, later ones over earlier ones. An override of a key that determines the defaults of
/// others, such as a preset, first resets those, so that it takes effect also on a recipe that sets them; a choice also
/// takes out the keys that do not apply to it. Other overrides of those keys still count.
pub(super) fn apply(object: &mut Map<String, Value>, overrides: &[Override]) -> Result<()> {
    for one in overrides {
        if let Some(key) = super::key(&one.key) {
            reset_filled_by(key, object);
            let value = typed(&one.value, key);
            take_out_others(key, value.as_str(), object);
        }
    }
    for one in overrides {
        let Some(key) = super::key(&one.key) else { return Err(refusal(one)) };
        let value = typed(&one.value, key);
        insert(object, &key.path.split('.').collect::<Vec<_>>(), value);
    }
    Ok(())
}

/// Writes `value` at `path`, with the sections that it needs.
fn insert(object: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            object.insert((*name).to_owned(), value);
        }
        [section, inner @ ..] => {
            let section = object.entry(*section).or_insert_with(|| Value::Object(Map::new()));
            // A recipe whose section is not an object was refused earlier.
            if let Value::Object(section) = section {
                insert(section, inner, value);
            }
        }
    }
}

/// The section of `key`, where the recipe has it.
fn section_of<'a>(
    key: &Key,
    object: &'a mut Map<String, Value>,
) -> Option<&'a mut Map<String, Value>> {
    let names = key.section().split('.').filter(|name| !name.is_empty());
    names.into_iter().try_fold(object, |section, name| section.get_mut(name)?.as_object_mut())
}

/// Removes the keys whose defaults depend on `key`.
fn reset_filled_by(key: &Key, object: &mut Map<String, Value>) {
    let Some(section) = section_of(key, object) else { return };
    for one in super::keys().filter(|one| one.section() == key.section()) {
        if one.filled_by == Some(key.name()) {
            section.remove(one.name());
        }
    }
}

/// Removes the keys that do not apply where `key` has `value`, and those that depend on these; a `value` of `None` is
/// any that no key applies to.
fn take_out_others(key: &Key, value: Option<&str>, object: &mut Map<String, Value>) {
    let depends = |one: &&Key| {
        let applies = |only: &Only| (only.values)().iter().any(|name| Some(name.as_str()) == value);
        let bound = |only: &Only| only.key == key.name() && !applies(only);
        one.section() == key.section() && one.only.iter().any(bound)
    };
    for one in super::keys().filter(depends) {
        if let Some(section) = section_of(key, object) {
            section.remove(one.name());
        }
        take_out_others(one, None, object);
    }
}

fn refusal(one: &Override) -> Error {
    match super::sections().find(|section| section.name == one.key) {
        Some(section) => Error::invalid(format!(
            "cannot set {one}: {} is a section, set one of its keys, as in {}=…",
            section.name,
            section.keys.first().map_or("", |key| key.path)
        )),
        None => unknown_key::error(&one.key, one.flag),
    }
}

/// JSON where it parses as JSON; a key whose default is a string takes the text verbatim, so that a name may be 7.
fn typed(text: &str, key: &Key) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_string() || !(key.default)().is_string() => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::recipe::{Recipe, Schedule};

    fn set(text: &str, overrides: &[&str]) -> Result<Recipe> {
        let overrides: Vec<Override> = overrides.iter().map(|one| one.parse().unwrap()).collect();
        Recipe::parse(text, "x.json", &overrides)
    }

    #[test]
    fn numbers_words_lists_and_names_that_look_like_numbers_arrive_with_their_type() {
        let recipe = set(
            r#"{"vqvae": {"preset": "resnet"}}"#,
            &[
                "vqvae.channel_multipliers=[1, 2, 4]",
                "vqvae.learning_rate=1e-4",
                "vqvae.schedule=constant",
                "vqvae.kmeans_init=false",
                "name=7",
            ],
        )
        .unwrap();
        assert_eq!(recipe.vqvae.channel_multipliers, [1, 2, 4]);
        assert_eq!(recipe.vqvae.learning_rate, 1e-4);
        assert_eq!(recipe.vqvae.schedule, Schedule::Constant);
        assert!(!recipe.vqvae.kmeans_init);
        assert_eq!(recipe.name, "7");
    }

    #[test]
    fn the_last_of_two_overrides_wins_over_the_file() {
        let recipe = set(r#"{"seed": 1}"#, &["seed=2", "seed=3"]).unwrap();
        assert_eq!(recipe.seed, 3);
    }

    #[test]
    fn a_misspelt_override_names_the_nearest_key() {
        assert_eq!(
            set("{}", &["vqvae.codebok_size=1"]).unwrap_err().to_string(),
            "unknown key vqvae.codebok_size in --set, did you mean vqvae.codebook_size?"
        );
        let section = set("{}", &["vqvae=3"]).unwrap_err().to_string();
        assert!(section.contains("vqvae is a section"), "{section}");
    }

    #[test]
    fn a_wrong_type_says_that_it_came_from_set() {
        let message = set("{}", &["vqvae.learning_rate=1e999"]).unwrap_err().to_string();
        assert_eq!(message, r#"vqvae.learning_rate in --set is "1e999", expected a number"#);
    }

    #[test]
    fn a_preset_on_the_command_line_replaces_the_shape_in_the_file() {
        let file = r#"{"prior": {"layers": 3, "width": 96, "dropout": 0.3}}"#;
        let prior = set(file, &["prior.heads=8", "prior.preset=nano"]).unwrap().prior;
        assert_eq!((prior.layers, prior.width, prior.heads), (4, 128, 8));
        assert_eq!(prior.dropout, 0.3);
    }

    #[test]
    fn a_choice_on_the_command_line_takes_out_what_does_not_apply_to_it() {
        let file = r#"{"vqvae": {"code_dim": 64, "kmeans_init": true, "restart_after": 9, "commitment": 0.5}}"#;
        let fsq = set(file, &["vqvae.quantizer=fsq"]).unwrap().vqvae;
        assert_eq!((fsq.levels, fsq.code_dim, fsq.restart_after), (vec![8, 8, 8], 0, 0));
        assert!(!fsq.kmeans_init);
        let residual = set(file, &["vqvae.quantizer=residual"]).unwrap().vqvae;
        assert_eq!((residual.code_dim, residual.restart_after, residual.depth), (64, 9, 4));
        let simvq = set(file, &["vqvae.codebook=simvq"]).unwrap().vqvae;
        assert_eq!((simvq.code_dim, simvq.restart_after, simvq.commitment), (64, 0, 0.5));
        // What is named with it still counts, and is refused.
        let message = set(file, &["vqvae.quantizer=fsq", "vqvae.code_dim=3"]).unwrap_err();
        assert!(message.to_string().contains("vqvae.code_dim is only for the vq or residual"));
    }

    #[test]
    fn text_without_a_key_or_a_value_is_no_override() {
        assert!("vqvae.steps".parse::<Override>().is_err());
        assert!("=3".parse::<Override>().is_err());
        assert_eq!("a=b=c".parse::<Override>().unwrap().to_string(), "a=b=c");
    }
}
