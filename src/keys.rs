//! Descriptions of recipe keys. The macro `section!` turns one declaration per key into the field, its default, its
//! check and its [`Key`]; the list of keys, the messages and `docs/recipe.md` are generated from that. It knows no key
//! by name.

mod allowed;
mod declare;
mod words;

pub(crate) use allowed::{
    AboveZero, Allowed, MOST_BATCH, MOST_STEPS, refuse_unless_off, rule_text,
};
pub(crate) use declare::{given, section};
pub(crate) use words::{choices, json, names, or_list, wanted};

use serde_json::Value;

/// One key of the recipe, as declared.
#[derive(Debug)]
pub struct Key {
    /// The full path, as in `vqvae.steps`.
    pub path: &'static str,
    /// What it means, in Markdown.
    pub text: &'static str,
    /// The value where neither the recipe nor a preset sets it.
    pub default: fn() -> Value,
    /// The values allowed, as worded in messages and the documentation.
    pub allowed: fn() -> String,
    /// The names to choose from; empty for numbers, strings and lists.
    pub choices: fn() -> &'static [&'static str],
    /// What happens if it has changed when training resumes.
    pub on_resume: OnResume,
    /// The key of the same section that determines its default, if any. Where that one is set on the command line, a
    /// file's value for this key is ignored.
    pub filled_by: Option<&'static str>,
    /// The condition under which it applies; empty if always, otherwise one entry.
    pub only: &'static [Only],
}

/// A condition under which a key applies; elsewhere the key must be left out.
#[derive(Debug)]
pub struct Only {
    /// A key of the same section.
    pub key: &'static str,
    /// The values of that key for which it applies.
    pub values: fn() -> Vec<String>,
}

/// What happens when training resumes from a checkpoint with another value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnResume {
    /// Nothing: the key sets duration or frequency, or affects only what follows training.
    Silent,
    /// A note: the key affects how training continues, so the run differs from an uninterrupted one.
    Told,
    /// An error: the key determines the model or the data.
    Refused,
}

impl Key {
    /// The section, as in `vqvae`; empty for top-level keys.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The path without the section, as in `steps`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// A section of the recipe.
#[derive(Debug)]
pub struct Section {
    /// The full path, as in `vqvae`.
    pub name: &'static str,
    /// What it is about, in Markdown.
    pub text: &'static str,
    /// Its keys, in the order of a saved recipe.
    pub keys: &'static [Key],
    /// The sections in it, which follow its keys.
    pub sections: &'static [Section],
}

impl Section {
    /// It and all sections in it, in the order of a saved recipe.
    pub fn with_inner(&'static self) -> Box<dyn Iterator<Item = &'static Self>> {
        Box::new(std::iter::once(self).chain(self.sections.iter().flat_map(Self::with_inner)))
    }
}
