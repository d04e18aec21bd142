//! What a key of the recipe is. The macro `section!` turns one declaration a key into the field, its default, its
//! check and its [`Key`]; the list of keys, the messages and `docs/recipe.md` come from that. It knows no key by name.

mod allowed;
mod declare;
mod words;

pub(crate) use allowed::{
    AboveZero, Allowed, MOST_BATCH, MOST_STEPS, refuse_unless_off, rule_text,
};
pub(crate) use declare::{given, section};
pub(crate) use words::{choices, json, names, or_list, wanted};

use serde_json::Value;

/// One key of the recipe, as it was declared.
#[derive(Debug)]
pub struct Key {
    /// The full path, as in `vqvae.steps`.
    pub path: &'static str,
    /// What it means, in Markdown.
    pub text: &'static str,
    /// The value where a recipe says nothing at all.
    pub default: fn() -> Value,
    /// The values allowed, as messages and the documentation say it.
    pub allowed: fn() -> String,
    /// The names it chooses between; empty for numbers, texts and lists.
    pub choices: fn() -> &'static [&'static str],
    /// What a training that goes on does when it has changed.
    pub on_resume: OnResume,
    /// The key of the same section that its default depends on, if there is one. Where that one is set from the
    /// command line, what a file says about this one no longer counts.
    pub filled_by: Option<&'static str>,
    /// Where it has a meaning; empty if everywhere, or else one entry.
    pub only: &'static [Only],
}

/// A condition under which a key has a meaning; where it does not hold the key must be left out.
#[derive(Debug)]
pub struct Only {
    /// A key of the same section.
    pub key: &'static str,
    /// Its values, of which it must have one.
    pub values: fn() -> Vec<String>,
}

/// What a training does that goes on from a checkpoint and finds another value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnResume {
    /// Nothing: the key says how long and how often, or what comes after the training.
    Silent,
    /// It says so: the key says how to train on, and the run is no longer the one that never stopped.
    Told,
    /// It ends: the key says what is trained on what.
    Refused,
}

impl Key {
    /// The section, as in `vqvae`; empty for the keys outside of all.
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
    /// The name, as in `vqvae`.
    pub name: &'static str,
    /// What it is about, in Markdown.
    pub text: &'static str,
    /// Its keys, in the order of a saved recipe.
    pub keys: &'static [Key],
}
