//! Which columns of a table hold what: the names that the field uses, and those that a user gives in `data.columns`.

use super::captions::CAPTION_KEYS;

/// Names of columns with images, the first that is there counts.
const IMAGES: [&str; 4] = ["image", "img", "picture", "photo"];
/// Names of columns with classes, the first that is there counts.
const LABELS: [&str; 6] = ["label", "fine_label", "labels", "class", "class_label", "cls"];

/// The columns that a user names; `None` where the usual names decide, an empty name for no column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns {
    image: Option<String>,
    label: Option<String>,
    caption: Option<String>,
}

impl Columns {
    /// What a value of `data.columns` allows.
    pub(super) const ALLOWED: &str = "`image=NAME`, `label=NAME` and `caption=NAME`, separated by commas; no column after `=` takes none";

    /// Those of `text`, as in `image=img,label=style`; `None` where it is no such list.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut columns = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (role, name) = part.split_once('=')?;
            let column = match role.trim() {
                "image" => &mut columns.image,
                "label" => &mut columns.label,
                "caption" => &mut columns.caption,
                _ => return None,
            };
            if column.replace(name.trim().to_owned()).is_some() {
                return None;
            }
        }
        Some(columns)
    }

    /// The column of images: the named one, or the first of the usual names among `there`.
    pub(super) fn image<'a>(&'a self, there: &[&'a str]) -> Option<&'a str> {
        choose(self.image.as_deref(), &IMAGES, there)
    }

    /// Whether the user names the column of images.
    pub(super) fn names_image(&self) -> bool {
        self.image.is_some()
    }

    /// The column of classes, if there is one among `there`.
    pub(super) fn label<'a>(&'a self, there: &[&'a str]) -> Option<&'a str> {
        choose(self.label.as_deref(), &LABELS, there)
    }

    /// The columns of captions.
    pub(super) fn captions<'a>(&'a self, there: &[&'a str]) -> Vec<&'a str> {
        match self.caption.as_deref() {
            Some("") => Vec::new(),
            Some(name) => vec![name],
            None => CAPTION_KEYS.into_iter().filter(|key| there.contains(key)).collect(),
        }
    }
}

fn choose<'a>(named: Option<&'a str>, usual: &[&'a str], there: &[&str]) -> Option<&'a str> {
    match named {
        Some(name) => Some(name).filter(|name| !name.is_empty()),
        None => usual.iter().copied().find(|name| there.contains(name)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_count_unless_others_are_given() {
        let there = ["caption", "fine_label", "img", "label", "text"];
        let usual = Columns::parse("").unwrap();
        assert_eq!((usual.image(&there), usual.label(&there)), (Some("img"), Some("label")));
        assert_eq!(usual.captions(&there), ["text", "caption"]);
        let given = Columns::parse(" image=picture , label=,caption=title").unwrap();
        assert_eq!((given.image(&there), given.label(&there)), (Some("picture"), None));
        assert_eq!(given.captions(&there), ["title"]);
        assert!(Columns::parse("caption=").unwrap().captions(&there).is_empty());
        for wrong in ["image", "size=x", "image=a,image=b"] {
            assert_eq!(Columns::parse(wrong), None, "{wrong}");
        }
    }
}
