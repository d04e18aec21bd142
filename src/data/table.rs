//! Tables of images: Parquet files as the Hugging Face hub serves them, with an image a row, encoded as in a file of its
//! own. Classes, captions and names are read when a table is opened; images block by block, when they are needed, on any
//! thread. Input is untrusted: a panic in the reader becomes an error.

mod blocks;
mod column;
mod features;
mod schema;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::FileReader;

use super::columns::Columns;
use super::decode::check_file_size;
use super::labels::Label;
use crate::error::{Error, Result};
use blocks::Blocks;
use column::{integers, is_integers, texts};
use schema::Schema;

/// The first bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";
/// The extension of a table.
pub(super) const EXTENSION: &str = "parquet";

/// The image in a row of a table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    blocks: Arc<Blocks>,
    index: usize,
}

/// What a table holds besides the pixels of its images, by row.
pub(super) struct Table {
    pub(super) images: Vec<Row>,
    /// The file that each image was, if the table says so.
    pub(super) file_names: Vec<Option<String>>,
    /// The class of each row; empty without such a column.
    pub(super) labels: Vec<Option<Label>>,
    /// What is written of each image; empty without such columns.
    pub(super) captions: Vec<Vec<String>>,
    /// The names of classes 0, 1, …, if the table has them.
    pub(super) class_names: Vec<String>,
    /// Texts that are not UTF-8, which are left out.
    pub(super) undecoded: usize,
}

/// Whether a file that begins with `start` is a table.
pub(super) fn is_table(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// `read`, with a panic of the reader of a library as an error.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing is shared, so nothing is left half changed.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("made its reader panic; the file is damaged".to_owned()))
}

impl Table {
    /// Opens the table at `path`; `with_captions` says whether captions are read.
    ///
    /// # Errors
    /// A table that cannot be read, is damaged, or has no column of images.
    pub(super) fn open(path: &Path, columns: &Columns, with_captions: bool) -> Result<Self> {
        guarded(|| Self::read(path, columns, with_captions))
            .map_err(|reason| Error::file(path, reason))
    }

    fn read(path: &Path, columns: &Columns, with_captions: bool) -> Result<Self, String> {
        let reader = blocks::open(path)?;
        check_rows(path, &reader)?;
        let schema = Schema::of(&reader, columns)?;
        let mut undecoded = 0;
        let file_names = match schema.file_name {
            Some(leaf) => first(texts(&reader, leaf, &mut undecoded)?),
            None => Vec::new(),
        };
        let labels: Vec<Option<Label>> = match schema.label {
            None => Vec::new(),
            Some(leaf) if is_integers(&reader, leaf) => {
                let numbers = first(integers(&reader, leaf)?).into_iter();
                numbers.map(|number| number.map(Label::Number)).collect()
            }
            Some(leaf) => {
                let names = first(texts(&reader, leaf, &mut undecoded)?).into_iter();
                names.map(|name| name.filter(|name| !name.is_empty()).map(Label::Name)).collect()
            }
        };
        let mut captions: Vec<Vec<String>> = Vec::new();
        for leaf in schema.captions.into_iter().filter(|_| with_captions) {
            let column = texts(&reader, leaf, &mut undecoded)?;
            captions.resize(captions.len().max(column.len()), Vec::new());
            for (all, more) in captions.iter_mut().zip(column) {
                all.extend(more);
            }
        }
        let class_names = schema.class_names;
        let blocks = Arc::new(Blocks::new(path, reader, schema.image));
        let image = |index| Row { blocks: Arc::clone(&blocks), index };
        let images: Vec<Row> = (0..blocks.len()).map(image).collect();
        // A column that ends early would leave the other rows without what they have.
        for (what, len) in
            [("names", file_names.len()), ("classes", labels.len()), ("captions", captions.len())]
        {
            if len != 0 && len != images.len() {
                return Err(format!("is damaged: {len} {what} for {} rows", images.len()));
            }
        }
        Ok(Self { images, file_names, labels, captions, class_names, undecoded })
    }
}

/// Refuses more rows than bytes: nothing else bounds how many empty rows a header may declare.
fn check_rows(path: &Path, reader: &blocks::Reader) -> Result<(), String> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let groups = reader.metadata().row_groups().iter();
    let rows = groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
    let rows = rows.fold(0, u64::saturating_add);
    if rows > bytes {
        return Err(format!("declares {rows} rows in {bytes} bytes"));
    }
    Ok(())
}

impl Row {
    /// What orders rows as they are stored: the table, by a number that is of this run of the program alone, and the row.
    pub(super) fn place(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.blocks).addr(), self.index)
    }

    /// The image as a file, or why it cannot be read.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        let image = guarded(|| self.blocks.image(self.index))?;
        check_file_size(image.len() as u64)?;
        Ok(image)
    }
}

/// Of each row its first value.
fn first<T>(rows: Vec<Vec<T>>) -> Vec<Option<T>> {
    rows.into_iter().map(|values| values.into_iter().next()).collect()
}
