//! Classes that are written beside images instead of being folders: numbers or names to labels.

use std::collections::BTreeSet;

/// The class of an image, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Number(i64),
    Name(String),
}

impl Label {
    /// That in a text: a whole number or a name; `None` for an empty one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            Ok(number) => Some(Self::Number(number)),
            Err(_) => (!text.is_empty()).then(|| Self::Name(text.to_owned())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// The names of all classes, and the class of each image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Labelled {
    pub(super) classes: Vec<String>,
    /// `None` for an image without a class, or with one that does not exist.
    pub(super) labels: Vec<Option<usize>>,
}

/// The classes of images with these labels. Numbers are those of `names`, where there are any, and otherwise sorted as
/// numbers; a negative one is none. Names are sorted as those of folders are.
pub(super) fn labelled(labels: &[Option<Label>], names: &[String]) -> Labelled {
    let written = labels.iter().flatten();
    if !names.is_empty() && written.clone().all(|label| matches!(label, Label::Number(_))) {
        let label = |label: &Option<Label>| match label {
            Some(Label::Number(number)) => {
                usize::try_from(*number).ok().filter(|number| *number < names.len())
            }
            _ => None,
        };
        return Labelled { classes: names.to_vec(), labels: labels.iter().map(label).collect() };
    }
    let is_class = |label: &&Label| !matches!(label, Label::Number(number) if *number < 0);
    let classes: BTreeSet<&Label> = written.filter(is_class).collect();
    let classes: Vec<&Label> = classes.into_iter().collect();
    let label = |label: &Option<Label>| classes.binary_search(&label.as_ref()?).ok();
    Labelled {
        labels: labels.iter().map(label).collect(),
        classes: classes.iter().map(|label| label.name()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str], names: &[&str]) -> (Vec<String>, Vec<Option<usize>>) {
        let labels: Vec<_> = texts.iter().map(|text| Label::parse(text)).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Labelled { classes, labels } = labelled(&labels, &names);
        (classes, labels)
    }

    #[test]
    fn numbers_are_sorted_as_numbers_or_index_the_names() {
        let (classes, labels) = all(&["10", " 9\n", "-1", "", "10"], &[]);
        assert_eq!(classes, ["9", "10"]);
        assert_eq!(labels, [Some(1), Some(0), None, None, Some(1)]);
        let (classes, labels) = all(&["1", "0", "2", "-1"], &["dog", "cat"]);
        assert_eq!(
            (classes.join(" "), labels),
            ("dog cat".into(), vec![Some(1), Some(0), None, None])
        );
    }

    #[test]
    fn names_are_sorted() {
        let (classes, labels) = all(&["dog", "cat", "dog"], &["unused"]);
        assert_eq!(
            (classes.join(" "), labels),
            ("cat dog".into(), vec![Some(1), Some(0), Some(1)])
        );
        assert_eq!(all(&["", ""], &[]), (vec![], vec![None, None]));
    }
}
