//! Notes for the user on the resulting splits: an empty split, an image in two of them, a class without training
//! images.

use std::collections::HashSet;

use super::report::{counted, listed};
use super::source::Source;
use super::{DataConfig, Split};

/// The notes on `splits`, which hold indices into the items of `source`, with these content keys.
pub(super) fn of(
    source: &Source,
    content_keys: &[u64],
    splits: &[Vec<usize>; 3],
    config: &DataConfig,
) -> Vec<String> {
    let mut notes = Vec::new();
    for (split, fraction) in [(Split::Validation, config.validation), (Split::Test, config.test)] {
        if fraction > 0.0 && splits[split as usize].is_empty() {
            notes.push(format!("{split} is empty: {}", why_empty(source, content_keys)));
        }
    }
    if source.items.iter().any(|item| item.published.is_some()) {
        notes.extend(leaks(content_keys, splits));
        notes.extend(untrained_classes(source, splits));
    }
    notes
}

/// Why no image could be put into a split.
fn why_empty(source: &Source, content_keys: &[u64]) -> String {
    let movable = source.items.iter().zip(content_keys);
    let movable: Vec<u64> =
        movable.filter(|(item, _)| item.published.is_none()).map(|(_, key)| *key).collect();
    let (n, n_distinct) = (movable.len(), movable.iter().collect::<HashSet<_>>().len());
    if n > n_distinct {
        format!(
            "the {n} images are copies of {n_distinct}, and copies are never in different splits"
        )
    } else {
        "there are too few images".to_owned()
    }
}

/// Images published in two splits: what a model was trained on, the other split cannot measure.
fn leaks(content_keys: &[u64], splits: &[Vec<usize>; 3]) -> Vec<String> {
    let keys = |split: Split| splits[split as usize].iter().map(|position| content_keys[*position]);
    let pairs = [
        (Split::Test, Split::Train),
        (Split::Validation, Split::Train),
        (Split::Test, Split::Validation),
    ];
    let note = |(held_out, other): (Split, Split)| {
        let others: HashSet<u64> = keys(other).collect();
        let n = keys(held_out).filter(|key| others.contains(key)).count();
        let are = if n == 1 { "is" } else { "are" };
        (n > 0).then(|| {
            let images = counted(n, "image");
            format!(
                "{images} of {held_out} {are} in {other} too, byte for byte, so that the results on {held_out} look \
                 better than they are (keep each image in one split)"
            )
        })
    };
    pairs.into_iter().filter_map(note).collect()
}

/// Classes of which every image is held out.
fn untrained_classes(source: &Source, splits: &[Vec<usize>; 3]) -> Option<String> {
    let train = &splits[Split::Train as usize];
    let trained: HashSet<u16> =
        train.iter().map(|position| source.items[*position].label).collect();
    let is_trained =
        |label: usize| u16::try_from(label).is_ok_and(|label| trained.contains(&label));
    let names = source.classes.iter().enumerate();
    let names: Vec<String> =
        names.filter(|(label, _)| !is_trained(*label)).map(|(_, name)| name.clone()).collect();
    let (class, it) = if names.len() == 1 { ("a class", "it") } else { ("classes", "them") };
    (!names.is_empty() && !trained.is_empty()).then(|| {
        format!(
            "{class} of which no image is in train, so that nothing learns {it}: {}",
            listed(&names, ", ")
        )
    })
}
