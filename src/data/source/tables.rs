//! Images in the rows of tables.

use std::collections::HashSet;
use std::path::PathBuf;

use super::Source;
use super::entries::{Entry, Texts};
use crate::data::columns::Columns;
use crate::data::content::Content;
use crate::data::labels::Label;
use crate::data::report::counted;
use crate::data::shards::Shard;
use crate::data::table::Table;
use crate::data::{CaptionSource, DataConfig, captions};
use crate::error::{Error, Result};

/// A row before it has a name.
struct Unnamed {
    /// The folder that it would be in, of its split and its class.
    folder: String,
    /// The name of its own file, if the table has one.
    file: Option<String>,
    /// The name of its table and its number there.
    row: String,
    entry: Entry,
}

impl Source {
    /// The images in the tables `files`. Each is named like the file that it would be in a folder of classes, or by the
    /// number of its row where the tables do not say or not all names differ.
    pub(super) fn from_tables(files: Vec<(String, PathBuf)>, config: &DataConfig) -> Result<Self> {
        let columns = Columns::parse(&config.columns).unwrap_or_default();
        let is_captioned = config.captions == CaptionSource::Auto;
        let (mut rows, mut class_names, mut undecoded) = (Vec::new(), Vec::new(), 0);
        let shards = Shard::all(files);
        for shard in &shards {
            let table = Table::open(&shard.path, &columns, is_captioned)?;
            undecoded += table.undecoded;
            if rows.is_empty() {
                class_names.clone_from(&table.class_names);
            } else if class_names != table.class_names {
                return Err(Error::file(
                    &shard.path,
                    "has other classes than the tables before it",
                ));
            }
            let Table { images, file_names, labels, captions, .. } = table;
            for (index, row) in images.into_iter().enumerate() {
                let label: Option<Label> = labels.get(index).cloned().flatten();
                let class = label.as_ref().map(|label| class_folder(label, &class_names));
                let name = file_names.get(index).and_then(Option::as_deref);
                rows.push(Unnamed {
                    folder: format!("{}{}", shard.folder(), class.unwrap_or_default()),
                    file: name.map(captions::as_path).filter(|name| !name.is_empty()),
                    row: format!("{}/{index:07}", shard.stem),
                    entry: Entry {
                        name: String::new(),
                        prefix: 0,
                        split: shard.split,
                        content: Content::Row(row),
                        label,
                        captions: captions.get(index).cloned().unwrap_or_default(),
                    },
                });
            }
        }
        if rows.is_empty() {
            return Err(Error::file(&config.path, "holds tables without rows"));
        }
        let mut seen = HashSet::new();
        let are_named = (rows.iter())
            .all(|row| row.file.as_deref().is_some_and(|file| seen.insert((&row.folder, file))));
        drop(seen);
        let name = |Unnamed { folder, file, row, entry }| match file.filter(|_| are_named) {
            Some(file) => Entry { name: format!("{folder}{file}"), prefix: folder.len(), ..entry },
            None => {
                let name = format!("{folder}{row}");
                Entry { prefix: name.len(), name, ..entry }
            }
        };
        let mut entries: Vec<Entry> = rows.into_iter().map(name).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut source, _) = Self::from_entries(
            "images in tables",
            entries,
            &class_names,
            &Texts::NONE,
            config.captions,
        );
        source.note_shards(&shards);
        if undecoded > 0 {
            let n = counted(undecoded, "text");
            source.notes.push(format!("{n} in the tables that are not UTF-8, which are left out"));
        }
        Ok(source)
    }
}

/// The folder that a class would be, with a `/`.
fn class_folder(label: &Label, names: &[String]) -> String {
    let name = match label {
        Label::Number(number) => match usize::try_from(*number).ok().and_then(|n| names.get(n)) {
            Some(name) => name.clone(),
            None => number.to_string(),
        },
        Label::Name(name) => name.clone(),
    };
    format!("{}/", name.replace(['/', '\\'], "-"))
}
