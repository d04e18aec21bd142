//! Images with what is written of them, from any kind of files: which are in which class and published split, and with which
//! captions.

use std::collections::BTreeSet;

use super::{Item, Origin, Source};
use crate::data::arrangement::{self, Place};
use crate::data::content::Content;
use crate::data::folder::Found;
use crate::data::labels::{Label, Labelled, labelled};
use crate::data::report::Skip;
use crate::data::shards::Shard;
use crate::data::{CaptionSource, Split, captions, class_files};

/// An image before it has a class.
pub(super) struct Entry {
    /// Its relative path, which no other has.
    pub(super) name: String,
    /// How much of the start of its name says nothing of its class, as it is the file that the image is in.
    pub(super) prefix: usize,
    /// The split of the file that it is in, where that is one.
    pub(super) split: Option<Split>,
    pub(super) content: Content,
    /// Its class, where that is written.
    pub(super) label: Option<Label>,
    /// Its captions, where the files beside it are not all.
    pub(super) captions: Vec<String>,
}

impl Entry {
    pub(super) fn of(found: Found) -> Self {
        let Found { name, content } = found;
        Self { name, prefix: 0, split: None, content, label: None, captions: Vec::new() }
    }
}

/// Files beside the images that may say something of them.
pub(super) struct Texts<'a> {
    pub(super) names: Vec<&'a str>,
    pub(super) read: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
}

impl Texts<'_> {
    /// There are none.
    pub(super) const NONE: Self =
        Self { names: Vec::new(), read: &|_| Err("is not there".to_owned()) };
}

impl Source {
    /// The data set of `entries`, whose labels are numbers of `class_names` where there are any; and the names of those of
    /// `texts` that say something of an image.
    pub(super) fn from_entries(
        kind: &'static str,
        mut entries: Vec<Entry>,
        class_names: &[String],
        texts: &Texts<'_>,
        from: CaptionSource,
    ) -> (Self, BTreeSet<String>) {
        let mut source = Self::empty(kind);
        let mut used = source.take_class_files(&mut entries, texts);
        source.take_captions(&mut entries, texts, from, &mut used);
        source.take_items(entries, class_names);
        (source, used)
    }

    /// Says what the files that the images are in have to do with splits.
    pub(super) fn note_shards(&mut self, shards: &[Shard]) {
        let published: Vec<_> = self.items.iter().map(|item| item.published).collect();
        self.notes.extend(Shard::note(shards, &published));
    }

    fn take_class_files(&mut self, entries: &mut [Entry], texts: &Texts<'_>) -> BTreeSet<String> {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let found = class_files::of_files(&names, texts.names.iter().copied(), texts.read);
        for (entry, label) in entries.iter_mut().zip(found.by_image) {
            entry.label = label.or(entry.label.take());
        }
        self.notes.extend(found.notes);
        found.used
    }

    fn take_captions(
        &mut self,
        entries: &mut [Entry],
        texts: &Texts<'_>,
        from: CaptionSource,
        used: &mut BTreeSet<String>,
    ) {
        let given: Vec<Vec<String>> =
            entries.iter_mut().map(|entry| std::mem::take(&mut entry.captions)).collect();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let found = match from {
            CaptionSource::None => return,
            CaptionSource::Names => captions::of_names(&names),
            CaptionSource::Auto => {
                captions::of_files(&names, &given, texts.names.iter().copied(), texts.read)
            }
        };
        for (entry, captions) in entries.iter_mut().zip(found.by_image) {
            entry.captions = captions;
        }
        self.notes.extend(found.notes);
        used.extend(found.used);
    }

    fn take_items(&mut self, entries: Vec<Entry>, class_names: &[String]) {
        let is_labelled = entries.iter().any(|entry| entry.label.is_some());
        let names: Vec<&str> = entries
            .iter()
            .map(|entry| entry.name.get(entry.prefix..).unwrap_or_default())
            .collect();
        let arrangement = match is_labelled {
            true => arrangement::arrange_splits(&names),
            false => arrangement::arrange(&names),
        };
        self.notes.extend(arrangement.notes);
        let labels: Vec<_> = entries.iter().map(|entry| entry.label.clone()).collect();
        let Labelled { classes, labels } = labelled(&labels, class_names);
        self.classes = classes;
        for ((entry, place), label) in entries.into_iter().zip(arrangement.places).zip(labels) {
            match place {
                Err(reason) => self.skipped.push(Skip::misplaced(entry.name, reason)),
                Ok(_) if is_labelled && label.is_none() => {
                    self.skipped.push(Skip::unlabelled(entry.name));
                }
                Ok(Place { published, class }) => self.items.push(Item {
                    published: entry.split.or(published).filter(|split| *split != Split::Train),
                    name: entry.name,
                    // How many classes there may be is checked before one is used.
                    label: label.unwrap_or_default() as u16,
                    class,
                    captions: entry.captions,
                    is_converted: false,
                    origin: Origin::File(entry.content),
                }),
            }
        }
    }
}
