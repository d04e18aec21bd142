//! Classes in files beside images, as WebDataset has them: `x.cls` beside `x.jpg` holds a number or a name.

use std::collections::{BTreeSet, HashMap};

use super::labels::Label;
use super::names::stem;
use super::report::{counted, listed};

/// The extension of such a file.
const EXTENSION: &str = ".cls";
/// Far more than any name of a class.
const MAX_BYTES: usize = 1 << 10;

/// The classes of a list of images.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of each image, in its order.
    pub(super) by_image: Vec<Option<Label>>,
    /// Names of the files that held them or claimed to.
    pub(super) used: BTreeSet<String>,
    pub(super) notes: Vec<String>,
}

/// Whether the file called `name` may hold the class of an image beside it.
pub(super) fn may_hold(name: &str) -> bool {
    name.to_lowercase().ends_with(EXTENSION)
}

/// The classes of the images called `images`, from those of `files` that [`may_hold`] one. `read` returns the content of a
/// file, or why it cannot be read.
pub(super) fn of_files<'a>(
    images: &[&str],
    files: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Result<Vec<u8>, String>,
) -> Found {
    let files: HashMap<&str, &str> =
        files.filter(|name| may_hold(name)).map(|name| (stem(name), name)).collect();
    let mut found = Found { by_image: vec![None; images.len()], ..Found::default() };
    if files.is_empty() {
        return found;
    }
    let mut unusable = Vec::new();
    for (image, label) in images.iter().zip(&mut found.by_image) {
        let Some(file) = files.get(stem(image)).or_else(|| files.get(key(image))) else { continue };
        found.used.insert((*file).to_owned());
        match read(file).and_then(|content| class(&content)) {
            Ok(class) => *label = Some(class),
            Err(reason) => unusable.push(format!("{file} {reason}")),
        }
    }
    if !unusable.is_empty() {
        let n = counted(unusable.len(), "file");
        found.notes.push(format!("{n} hold no class: {}", listed(&unusable, ", ")));
    }
    found
}

/// The key of an image in WebDataset, which ends at the first dot of its file's name: `0.left.png` has the class `0.cls`.
fn key(image: &str) -> &str {
    let start = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[start..].find('.') {
        Some(dot) if dot > 0 => &image[..start + dot],
        _ => image,
    }
}

fn class(content: &[u8]) -> Result<Label, String> {
    if content.len() > MAX_BYTES {
        return Err(format!("has {} bytes, a class at most {MAX_BYTES}", content.len()));
    }
    let text = std::str::from_utf8(content).map_err(|_| "is not UTF-8".to_owned())?;
    Label::parse(text).ok_or_else(|| "is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_has_the_class_beside_it() {
        let files = ["a.cls", "b/c.CLS", "d.cls", "e.cls", "f.cls", "a.txt"];
        let read = |name: &str| match name {
            "a.cls" => Ok(b" 3\n".to_vec()),
            "b/c.CLS" => Ok(b"cat".to_vec()),
            "d.cls" => Ok(Vec::new()),
            "e.cls" => Ok(vec![b'x'; 5_000]),
            _ => Err("cannot be read".to_owned()),
        };
        let images = ["a.left.jpg", "b/c.png", "d.jpg", "e.jpg", "f.jpg", "g.jpg"];
        let found = of_files(&images, files.into_iter(), read);
        assert_eq!(found.by_image[..2], [Some(Label::Number(3)), Some(Label::Name("cat".into()))]);
        assert!(found.by_image[2..].iter().all(Option::is_none));
        assert_eq!(found.used.len(), 5);
        let note = &found.notes[0];
        assert!(
            note.starts_with("3 files hold no class") && note.contains("d.cls is empty"),
            "{note}"
        );
        assert!(of_files(&images, ["a.txt"].into_iter(), read).notes.is_empty());
    }
}
