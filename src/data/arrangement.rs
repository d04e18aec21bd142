//! Which folders are classes, told from the names of all images alone.
//!
//! - A first-level folder is a class, however deep an image lies below it; without folders there are no classes.
//! - An image beside folders that are classes has no class.

use super::Split;

/// What the name of an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The split that its folder is. `None` for training images, of which others may be held out.
    pub(super) published: Option<Split>,
    /// Its class; empty where there are none.
    pub(super) class: String,
}

/// The place of each name, or why it has none, as the rest of a sentence; and what a user should know.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    pub(super) places: Vec<Result<Place, String>>,
    pub(super) notes: Vec<String>,
}

/// The arrangement of images by their relative paths.
pub(super) fn arrange(names: &[&str]) -> Arrangement {
    let has_classes = names.iter().any(|name| name.contains('/'));
    let place = |name: &&str| match name.split_once('/') {
        Some((class, _)) => Ok(Place { published: None, class: class.to_owned() }),
        None if !has_classes => Ok(Place { published: None, class: String::new() }),
        None => Err("lies beside the class folders".to_owned()),
    };
    Arrangement { places: names.iter().map(place).collect(), notes: Vec::new() }
}
