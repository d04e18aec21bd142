//! Unknown keys: refused by their full path, with the key that was probably meant. It compares names and knows no
//! values.

use serde_json::{Map, Value};

use super::Recipe;
use super::json::{cut, shown};
use crate::error::{Error, Result};
use crate::keys::{Key, Section};

/// Refuses unknown keys and sections that are not objects. `origin` says where they were.
pub(super) fn check(object: &Map<String, Value>, origin: &str) -> Result<()> {
    check_inside(object, "", Recipe::KEYS, Recipe::SECTIONS, origin)
}

/// As [`check`], for the section of which `keys` and `sections` are; `prefix` is its path with a dot.
fn check_inside(
    object: &Map<String, Value>,
    prefix: &str,
    keys: &[Key],
    sections: &[Section],
    origin: &str,
) -> Result<()> {
    for (name, value) in object {
        let path = format!("{prefix}{name}");
        if keys.iter().any(|key| key.path == path) {
            continue;
        }
        let Some(section) = sections.iter().find(|section| section.name == path) else {
            return Err(error(&path, origin));
        };
        let Value::Object(inside) = value else {
            return Err(Error::invalid(format!(
                "{path} in {origin} is {}, expected a section {{…}}",
                shown(value)
            )));
        };
        check_inside(inside, &format!("{path}."), section.keys, section.sections, origin)?;
    }
    Ok(())
}

/// The error for an unknown key: with the nearest one, or with the section's keys.
pub(super) fn error(path: &str, origin: &str) -> Error {
    let hint = match nearest(path) {
        Some(known) => format!("did you mean {known}?"),
        None => format!("allowed are {}", known_beside(path)),
    };
    Error::invalid(format!("unknown key {} in {origin}, {hint}", cut(path)))
}

/// The keys of the section of `path`, or, where there is none, the top-level keys and sections.
fn known_beside(path: &str) -> String {
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    match super::sections().find(|known| known.name == section) {
        Some(section) => section.keys.iter().map(|key| key.path).collect::<Vec<_>>().join(", "),
        None => {
            let keys: Vec<_> = Recipe::KEYS.iter().map(|key| key.path).collect();
            let names: Vec<_> = Recipe::SECTIONS.iter().map(|section| section.name).collect();
            let (last, first) = names.split_last().unwrap_or((&"", &[]));
            format!("{} and the sections {} and {last}", keys.join(", "), first.join(", "))
        }
    }
}

/// The known key or section most similar to `path`, if any is similar. The same last part in another section counts as
/// close, so that `steps` and `data.steps` find `vqvae.steps`.
fn nearest(path: &str) -> Option<&'static str> {
    /// No known key is half as long. A comparison takes time proportional to the length, and a file may hold a key of a
    /// million characters.
    const LONGEST: usize = 80;
    if path.len() > LONGEST {
        return None;
    }
    let wanted = last(path);
    let sections = super::sections().map(|section| section.name);
    super::keys()
        .map(|key| key.path)
        .chain(sections)
        .map(|known| {
            let whole = strsim::normalized_damerau_levenshtein(path, known);
            let leaf = strsim::normalized_damerau_levenshtein(wanted, last(known));
            // The leaf decides, the section breaks ties.
            (if leaf >= 0.6 { leaf + whole } else { whole }, known)
        })
        .filter(|(score, _)| *score >= 0.6)
        // The first of equals, which is in the order of the sections.
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, known)| known)
}

/// The part after the last dot.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Recipe::parse(text, "configs/x.json", &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_key_names_its_path_and_the_nearest_one() {
        assert_eq!(
            message(r#"{"vqvae": {"codebok_size": 3}}"#),
            "unknown key vqvae.codebok_size in configs/x.json, did you mean vqvae.codebook_size?"
        );
        assert!(message(r#"{"prior": {"droput": 0}}"#).ends_with("did you mean prior.dropout?"));
        assert!(message(r#"{"vqave": {"width": 1}}"#).ends_with("did you mean vqvae?"));
        assert!(message(r#"{"steps": 1}"#).ends_with("did you mean vqvae.steps?"));
        assert!(message(r#"{"data": {"codebook_size": 1}}"#).ends_with("vqvae.codebook_size?"));
    }

    #[test]
    fn a_key_like_no_other_lists_what_is_allowed() {
        let text = message(r#"{"sample": {"zzzzzzzz": 1}}"#);
        assert!(text.contains("allowed are sample.count, sample.columns"), "{text}");
        let text = message(r#"{"zzzzzzzz": 1}"#);
        assert!(text.contains("the sections data, vqvae"), "{text}");
    }

    #[test]
    fn a_long_key_is_cut_in_the_message_and_compared_with_no_other() {
        let long = "x".repeat(500_000);
        let text = message(&format!(r#"{{"{long}": 1}}"#));
        assert!(text.len() < 300 && text.contains("allowed are name, seed"), "{text}");
        let text = message(&format!(r#"{{"{long}": 1, "{long}": 1}}"#));
        assert!(text.len() < 300 && text.contains("appears twice"), "{text}");
    }
}
