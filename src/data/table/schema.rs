//! Which columns of a table are which, by their names and types.

use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::file::reader::FileReader;
use parquet::schema::types::ColumnDescriptor;

use super::blocks::Reader;
use super::features;
use crate::data::columns::Columns;
use crate::data::report::listed;

/// The fields of the structure that is an image.
const BYTES: &str = "bytes";
const PATH: &str = "path";

/// The leaf columns that count.
pub(super) struct Schema {
    pub(super) image: usize,
    pub(super) file_name: Option<usize>,
    pub(super) label: Option<usize>,
    pub(super) captions: Vec<usize>,
    /// The names of classes 0, 1, …; empty where the table has none.
    pub(super) class_names: Vec<String>,
}

impl Schema {
    /// Of `table`; the reason where it has no column of images or lacks one that `columns` names.
    pub(super) fn of(table: &Reader, columns: &Columns) -> Result<Self, String> {
        let metadata = table.metadata().file_metadata();
        let leaves: Vec<&ColumnDescriptor> =
            metadata.schema_descr().columns().iter().map(AsRef::as_ref).collect();
        let mut roots: Vec<&str> = leaves.iter().map(|leaf| root(leaf)).collect();
        roots.dedup();
        let there = || {
            let names: Vec<String> = roots.iter().map(|root| format!("`{root}`")).collect();
            listed(&names, ", ")
        };
        let missing = |role: &str, name: &str| {
            format!("has no column `{name}` of {role} (data.columns); its columns are {}", there())
        };

        let image = match columns.image(&roots) {
            Some(name) => bytes_of(&leaves, name).ok_or_else(|| match columns.names_image() {
                true if !roots.contains(&name) => missing("images", name),
                _ => format!("has a column `{name}` that holds no encoded images"),
            })?,
            None => only_bytes(&leaves).ok_or_else(|| {
                format!(
                    "has no column `image`; name one: --set data.columns=image=NAME (its columns are {})",
                    there()
                )
            })?,
        };
        let one = |role: &str, name: &str| {
            let leaf = leaves.iter().position(|leaf| root(leaf) == name);
            leaf.ok_or_else(|| missing(role, name))
        };
        let label = columns.label(&roots);
        let class_names = label.map_or_else(Vec::new, |name| {
            let metadata = metadata.key_value_metadata().into_iter().flatten();
            let ours = metadata.filter(|entry| entry.key == features::KEY);
            ours.filter_map(|entry| entry.value.as_deref())
                .map(|value| features::class_names(value, name))
                .next()
                .unwrap_or_default()
        });
        let label_leaf = label.map(|name| one("classes", name)).transpose()?;
        if let (Some(leaf), Some(name)) = (label_leaf, label)
            && !is_label(leaves[leaf])
        {
            return Err(format!(
                "has a column `{name}` of classes that are neither whole numbers nor names, one a row; --set \
                 data.columns=label= takes none"
            ));
        }
        let captions = columns.captions(&roots).into_iter();
        let captions: Vec<usize> =
            captions.map(|name| one("captions", name)).collect::<Result<_, _>>()?;
        let is_bytes = |leaf: &usize| leaves[*leaf].physical_type() == Type::BYTE_ARRAY;
        let schema = Self {
            image,
            file_name: leaf_at(&leaves, &[root(leaves[image]), PATH]).filter(is_bytes),
            label: label_leaf,
            // A column of this name may hold something else, as boxes do under `caption` in some sets.
            captions: captions.into_iter().filter(is_bytes).collect(),
            class_names,
        };
        schema.check_compression(table)?;
        Ok(schema)
    }

    fn check_compression(&self, table: &Reader) -> Result<(), String> {
        let others = [self.file_name, self.label].into_iter().flatten();
        let leaves = || others.clone().chain(self.captions.iter().copied()).chain([self.image]);
        let groups = table.metadata().row_groups();
        let mut used =
            groups.iter().flat_map(|group| leaves().map(|leaf| group.column(leaf).compression()));
        let is_read = |compression: &Compression| {
            matches!(
                compression,
                Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
            )
        };
        match used.find(|compression| !is_read(compression)) {
            None => Ok(()),
            Some(other) => Err(format!(
                "is compressed with {other}; write it with snappy, zstd or without compression"
            )),
        }
    }
}

fn root(leaf: &ColumnDescriptor) -> &str {
    leaf.path().parts().first().map_or("", String::as_str)
}

fn is_label(leaf: &ColumnDescriptor) -> bool {
    let is_one = leaf.max_rep_level() == 0;
    is_one
        && matches!(
            leaf.physical_type(),
            Type::INT32 | Type::INT64 | Type::BOOLEAN | Type::BYTE_ARRAY
        )
}

fn leaf_at(leaves: &[&ColumnDescriptor], path: &[&str]) -> Option<usize> {
    leaves.iter().position(|leaf| leaf.path().parts() == path)
}

/// The leaf with the bytes of the images in the column `name`, which is binary or a structure with them; not one of text.
fn bytes_of(leaves: &[&ColumnDescriptor], name: &str) -> Option<usize> {
    let leaf = leaf_at(leaves, &[name, BYTES]).or_else(|| leaf_at(leaves, &[name]))?;
    (leaves[leaf].physical_type() == Type::BYTE_ARRAY && !is_text(leaves[leaf])).then_some(leaf)
}

fn is_text(leaf: &ColumnDescriptor) -> bool {
    leaf.converted_type() == ConvertedType::UTF8
        || matches!(leaf.logical_type_ref(), Some(LogicalType::String))
}

/// The only leaf that can hold images: the bytes of a structure, or else a binary column without text.
fn only_bytes(leaves: &[&ColumnDescriptor]) -> Option<usize> {
    let only = |is_wanted: &dyn Fn(&ColumnDescriptor) -> bool| {
        let mut found = (0..leaves.len()).filter(|leaf| {
            leaves[*leaf].physical_type() == Type::BYTE_ARRAY && is_wanted(leaves[*leaf])
        });
        found.next().filter(|_| found.next().is_none())
    };
    only(&|leaf| leaf.path().parts().len() == 2 && leaf.name() == BYTES)
        .or_else(|| only(&|leaf| leaf.path().parts().len() == 1 && !is_text(leaf)))
}
