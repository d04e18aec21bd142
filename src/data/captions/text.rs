//! The text of captions: bytes to characters, and to one line without what nobody means to say.

use crate::data::names::stem;

/// Longer captions are cut: a prior reads a few dozen tokens.
pub(super) const MOST_CHARACTERS: usize = 1_000;

/// A caption as it is kept.
pub(super) struct Cleaned {
    pub(super) text: String,
    pub(super) is_cut: bool,
}

/// `caption` on one line, with single spaces and without control characters; `None` where nothing is left.
pub(super) fn cleaned(caption: &str) -> Option<Cleaned> {
    let mut text = String::new();
    let mut n = 0;
    let is_space = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    for word in caption.split(is_space).filter(|word| !word.is_empty()) {
        if n > 0 {
            text.push(' ');
            n += 1;
        }
        for c in word.chars() {
            if n >= MOST_CHARACTERS {
                let kept = text.trim_end().len();
                text.truncate(kept);
                return Some(Cleaned { text, is_cut: true });
            }
            text.push(c);
            n += 1;
        }
    }
    (n > 0).then_some(Cleaned { text, is_cut: false })
}

/// The text in `bytes`, which must be UTF-8; a byte order mark is left out.
pub(in crate::data) fn decoded(bytes: &[u8]) -> Result<&str, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        format!("is not UTF-8 from byte {} on: save it as UTF-8", error.valid_up_to())
    })
}

/// The words in the name of an image: `emoji/red-heart_02.png` is `red heart`.
pub(super) fn of_name(name: &str) -> String {
    let stem = stem(name);
    let file = stem.rsplit('/').next().unwrap_or(stem);
    let words: Vec<&str> =
        file.split(['-', '_', '.', ' ']).filter(|word| !word.is_empty()).collect();
    // A number at the end counts pictures; one elsewhere, or alone, may say something.
    let is_number = |word: &&str| word.chars().all(|c| c.is_ascii_digit());
    match words.split_last() {
        Some((last, rest)) if is_number(last) && !rest.is_empty() => rest.join(" "),
        _ => words.join(" "),
    }
}

/// A path in metadata with `/` between folders and without `./`.
pub(in crate::data) fn as_path(file_name: &str) -> String {
    let path = file_name.replace('\\', "/");
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}
