//! The peculiarities of EMNIST: six sets in one folder, class names in a file of character codes, labels that need not
//! start at 0.
//!
//! Format: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten letters".

use std::collections::BTreeSet;
use std::path::Path;

use crate::data::packed::read_limited;
use crate::error::{Error, Result};

/// The sets as in their file names, `emnist-letters-train-images-idx3-ubyte`.
pub(super) const SETS: [&str; 6] = ["balanced", "byclass", "bymerge", "digits", "letters", "mnist"];

/// Far more than the largest mapping, of 62 lines.
const MAX_MAPPING_BYTES: u64 = 1 << 16;

/// The meaning of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) label: u8,
    pub(super) name: String,
}

/// The classes of the set `set` in order of label: from the published mapping beside its files, or built in where that
/// is missing. A class of both cases of a letter is named after the first.
pub(super) fn classes(folder: &Path, set: &str) -> Result<Vec<Class>> {
    let path = folder.join(format!("emnist-{set}-mapping.txt"));
    if path.is_file() { read_mapping(&path) } else { Ok(published(set)) }
}

fn published(set: &str) -> Vec<Class> {
    let characters: Vec<char> = match set {
        "letters" => ('A'..='Z').collect(),
        // Fifteen letters whose cases look alike form one class each.
        "balanced" | "bymerge" => {
            ('0'..='9').chain('A'..='Z').chain("abdefghnqrt".chars()).collect()
        }
        "byclass" => ('0'..='9').chain('A'..='Z').chain('a'..='z').collect(),
        _ => ('0'..='9').collect(),
    };
    let first = u8::from(set == "letters");
    (first..).zip(characters).map(|(label, name)| Class { label, name: name.into() }).collect()
}

/// Lines of a label and the codes of its characters: `1 65 97`.
fn read_mapping(path: &Path) -> Result<Vec<Class>> {
    let bytes = read_limited(path, MAX_MAPPING_BYTES)?;
    if bytes.len() as u64 > MAX_MAPPING_BYTES {
        let message = format!("is larger than {MAX_MAPPING_BYTES} bytes of labels and codes");
        return Err(Error::file(path, message));
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut classes = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let label = words.next().and_then(|word| word.parse().ok());
        let code = words.next().and_then(|word| word.parse().ok()).and_then(char::from_u32);
        let (Some(label), Some(character)) = (label, code.filter(|code| code.is_alphanumeric()))
        else {
            let message = format!(
                "line {} is not a label of 0 to 255 and the code of a letter or digit, as in `1 65 97` \
                 (repair it, or remove the file: the published classes are known without it)",
                number + 1
            );
            return Err(Error::file(path, message));
        };
        classes.push(Class { label, name: character.into() });
    }
    classes.sort_by_key(|class| class.label);
    let labels: BTreeSet<u8> = classes.iter().map(|class| class.label).collect();
    let names: BTreeSet<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    if classes.is_empty() || labels.len() < classes.len() || names.len() < classes.len() {
        let message = format!(
            "holds {} lines of {} labels and {} characters; each line must have its own \
             (repair it, or remove the file: the published classes are known without it)",
            classes.len(),
            labels.len(),
            names.len()
        );
        return Err(Error::file(path, message));
    }
    Ok(classes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sets_have_their_published_numbers_of_classes() {
        let numbers = SETS.map(|set| published(set).len());
        assert_eq!(numbers, [47, 62, 47, 10, 26, 10]);
        let letters = published("letters");
        assert_eq!((letters[0].label, letters[25].label), (1, 26));
        assert_eq!(published("balanced")[46].name, "t");
    }

    #[test]
    fn a_mapping_gives_the_first_character_of_a_label() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emnist-letters-mapping.txt");
        let lines: Vec<String> =
            (1..=26).map(|label| format!("{label} {} {}", label + 64, label + 96)).collect();
        std::fs::write(&path, lines.join(" \r\n")).unwrap();
        assert_eq!(classes(dir.path(), "letters").unwrap(), published("letters"));
        for (text, expected) in [
            ("", "holds 0 lines"),
            ("1 65\n1 66", "2 lines of 1 labels"),
            ("1 65\n2 65", "1 characters"),
            ("1", "line 1 is not a label"),
            ("256 65", "line 1 is not a label"),
            ("1 7", "line 1 is not a label"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = classes(dir.path(), "letters").unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
