//! What a user should know of the splits that images fell into: why one is empty.

use std::collections::HashSet;

use super::source::Source;
use super::{DataConfig, Split};

/// The notes on `splits`, which hold positions in the items of `source`, whose content keys these are.
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
    notes
}

/// Why there was no image to put into a split.
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
