//! A text file that lists images: a path a line, relative to the file, and after tabs the class and the caption, if they
//! are to be given.

use std::path::Path;

use super::archive::clean_name;
use super::captions::{as_path, decoded};
use super::decode::read_bounded;
use super::labels::Label;
use super::report::{counted, listed};
use crate::error::{Error, Result};

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// As it is written.
    pub(super) path: String,
    /// With `/` between folders, without what says where it starts.
    pub(super) name: String,
    pub(super) label: Option<Label>,
    pub(super) caption: Option<String>,
}

/// The lines of the file at `path` that name an image, each image once, and notes on the others.
///
/// # Errors
/// A file that cannot be read, is not UTF-8 or lists nothing.
pub(super) fn read(path: &Path) -> Result<(Vec<Line>, Vec<String>)> {
    let refuse = |reason: String| Error::file(path, reason);
    let content = read_bounded(path).map_err(refuse)?;
    let lines = parse(decoded(&content).map_err(refuse)?);
    if lines.0.is_empty() {
        return Err(refuse("lists no image: write the path of one a line".to_owned()));
    }
    Ok(lines)
}

fn parse(content: &str) -> (Vec<Line>, Vec<String>) {
    let mut lines: Vec<Line> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut again = Vec::new();
    for line in content.lines().filter(|line| !line.trim().is_empty()) {
        let mut fields = line.splitn(3, '\t').map(str::trim);
        let path = fields.next().unwrap_or_default();
        let name = clean_name(&as_path(path));
        if name.is_empty() || !seen.insert(name.clone()) {
            again.push(if name.is_empty() { line.trim().to_owned() } else { name });
            continue;
        }
        lines.push(Line {
            path: path.to_owned(),
            name,
            label: fields.next().and_then(Label::parse),
            caption: fields.next().map(str::to_owned),
        });
    }
    let note = || {
        let n = counted(again.len(), "line");
        format!("{n} that name no image or one named before: {}", listed(&again, ", "))
    };
    let notes = (!again.is_empty()).then(note).into_iter().collect();
    (lines, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_path_and_perhaps_a_class_and_a_caption() {
        let (lines, notes) = parse(
            "a b.png\r\n\n./c/d.png\tcat\ta red\tcat\n/e.png\t7\nc\\d.png\tdog\n\tcat\nf.png\t\tblue\n",
        );
        let line = |path: &str, name: &str, label: Option<&str>, caption: Option<&str>| Line {
            path: path.to_owned(),
            name: name.to_owned(),
            label: label.and_then(Label::parse),
            caption: caption.map(str::to_owned),
        };
        let expected = [
            line("a b.png", "a b.png", None, None),
            line("./c/d.png", "c/d.png", Some("cat"), Some("a red\tcat")),
            line("/e.png", "e.png", Some("7"), None),
            line("f.png", "f.png", None, Some("blue")),
        ];
        assert_eq!(lines, expected);
        assert!(notes[0].starts_with("2 lines that name no image"), "{notes:?}");
    }
}
