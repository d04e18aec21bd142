//! Checks that `docs/recipe.md` matches the declarations of the keys, from which it is generated. With `VQGEN_BLESS`
//! set it writes the file instead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use vqgen::keys::{Key, OnResume, Section};
use vqgen::recipe::{BUILT_IN, Recipe};

const INTRODUCTION: &str = "\
<!-- Written from the declarations of the keys in src/recipe and src/data/config.rs. To write it again after a change:
VQGEN_BLESS=1 cargo test --release --test recipe_doc -->

# The keys of a recipe

A recipe is one JSON file with the keys below, those of a section inside an object of its name:

    {\"name\": \"kites\", \"data\": {\"path\": \"my-kites\"}, \"vqvae\": {\"preset\": \"resnet\", \"steps\": 5000}}

`--config` takes the path of such a file, or the name of a built-in one:
BUILT_IN.
Without it, an existing run uses the recipe saved with it, and a new one what fits its images, which is `quickstart` for
the embedded ones. What a recipe file leaves out has the default below, which is the published method and not the quickstart's: start from a built-in recipe for the best pictures.

`--set vqvae.codebook_size=1024` overrides one key and may be repeated. The value is parsed as JSON, or taken as a
string where it is not JSON or the key is a string: `--set vqvae.schedule=constant`,
`--set \"vqvae.channel_multipliers=[1, 2, 4]\"`.
Some flags set a single key, such as `--data`, `--seed` and `--steps` (`vqgen COMMAND --help` has them).

Precedence, highest first:

1. the flag that sets the key,
2. `--set`, the last one of several,
3. the recipe,
4. the preset of its section,
5. the default.

A preset or another choice named on the command line also resets the keys that it determines, and takes out of the
recipe those that do not apply to it.

An unknown key is an error that names the nearest known one; a duplicate key, a value of the wrong type and a value
out of range are errors too. `recipe.json` in the folder of a run has every key with its value.

*On resume* is what happens when training resumes from a checkpoint that was made with another value:

- *silent*: it continues; the key sets durations or intervals, or affects only what follows training;
- *told*: it continues and reports the change;
- *refused*: an error with the old and the new value, and nothing is written. The same holds when the images or codes
  themselves have changed, wherever they are.
";

fn document() -> String {
    let names: Vec<String> = BUILT_IN.iter().map(|(name, _)| format!("`{name}`")).collect();
    let mut text = INTRODUCTION.replace("BUILT_IN", &names.join(", "));
    text.push_str("\n## Top-level keys\n\n");
    table(&mut text, Recipe::KEYS);
    for section in vqgen::recipe::sections() {
        write!(text, "\n## `{}`\n\n{}\n\n", section.name, section.text).unwrap();
        table(&mut text, section.keys);
        for of in section.keys {
            let bound: Vec<&Key> =
                section.keys.iter().filter(|key| is_bound_to(key, of.name())).collect();
            if !bound.is_empty() && !(of.choices)().is_empty() {
                text.push('\n');
                by_choice(&mut text, section, of, &bound);
            }
        }
    }
    text
}

fn table(text: &mut String, keys: &[Key]) {
    text.push_str("| key | default | allowed | meaning | on resume |\n|---|---|---|---|---|\n");
    for key in keys {
        let default = match key.filled_by {
            Some(of) => format!("by `{of}`"),
            None => code(&(key.default)()),
        };
        let on_resume = match key.on_resume {
            OnResume::Silent => "silent",
            OnResume::Told => "told",
            OnResume::Refused => "refused",
        };
        let (allowed, meaning) = ((key.allowed)(), meaning(key));
        let cells = [format!("`{}`", key.name()), default, allowed, meaning, on_resume.to_owned()];
        row(text, &cells);
    }
}

/// The meaning of `key`, and where it applies.
fn meaning(key: &Key) -> String {
    let mut meaning = key.text.to_owned();
    for only in key.only {
        let values: Vec<String> = (only.values)().iter().map(|one| format!("`{one}`")).collect();
        write!(meaning, " Only for the {} {}.", values.join(" and "), only.key).unwrap();
    }
    meaning
}

/// Whether the default of `key`, or whether it applies, depends on `of`.
fn is_bound_to(key: &Key, of: &str) -> bool {
    key.filled_by == Some(of) || key.only.iter().any(|only| only.key == of)
}

/// The values that each choice of `of` gives to the keys that depend on it.
fn by_choice(text: &mut String, section: &Section, of: &Key, bound: &[&Key]) {
    let choices = (of.choices)();
    let head = choices.iter().map(|choice| format!("`{choice}`"));
    let head: Vec<String> = [format!("by `{}`", of.name())].into_iter().chain(head).collect();
    row(text, &head);
    writeln!(text, "|{}", "---|".repeat(head.len())).unwrap();
    let recipes: Vec<Value> = choices
        .iter()
        .map(|choice| {
            let given = json!({ of.name(): choice });
            let path = section.name.rsplit('.');
            let given = path.fold(given, |inner, name| json!({ name: inner }));
            let recipe: Recipe = serde_json::from_value(given).unwrap();
            serde_json::to_value(recipe).unwrap()
        })
        .collect();
    for key in bound {
        let cells = choices.iter().zip(&recipes).map(|(choice, recipe)| {
            let has_meaning = |only: &vqgen::keys::Only| {
                only.key != of.name() || (only.values)().iter().any(|one| one == choice)
            };
            match key.only.iter().all(has_meaning) {
                true => {
                    let section = section.name.split('.').fold(recipe, |value, name| &value[name]);
                    code(&section[key.name()])
                }
                false => "–".to_owned(),
            }
        });
        let cells: Vec<String> = [format!("`{}`", key.name())].into_iter().chain(cells).collect();
        row(text, &cells);
    }
}

fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(text, "| {} |", cells.join(" | ")).unwrap();
}

/// A value as written in a recipe.
fn code(value: &Value) -> String {
    format!("`{value}`")
}

#[test]
fn the_document_says_what_the_declarations_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipe.md");
    let wanted = document();
    if std::env::var_os("VQGEN_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    // A checkout on Windows may have other line ends.
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    if found != wanted {
        let lines = (0..).map(|n| [found.lines().nth(n), wanted.lines().nth(n)]);
        let differs = lines.into_iter().find(|[found, wanted]| found != wanted);
        panic!(
            "docs/recipe.md is not what the keys declare (VQGEN_BLESS=1 cargo test --release --test recipe_doc \
             writes it again); the first line that differs, there and declared: {differs:?}"
        );
    }
}

#[test]
fn every_key_is_in_the_document_with_its_default() {
    let text = document();
    for line in [
        "| `steps` | `2400` | 1 to 16777216 | Total optimizer steps. | silent |",
        "| `loss` | `\"mse\"` | `mse`, `l1` or `huber` |",
        "| `width` | by `preset` | 1 to 16384 |",
        "| `width` | `128` | `128` | `64` | `128` |",
        "| `channel_multipliers` | – | – | `[1,2,2]` | – |",
        "| `heads` | `4` | `6` | `8` |",
        "| `top_p` | `0.95` | numbers above 0 up to 1 |",
    ] {
        assert!(text.contains(line), "{line}");
    }
    for key in vqgen::recipe::keys() {
        assert!(text.contains(&format!("| `{}` | ", key.name())), "{}", key.path);
    }
}
