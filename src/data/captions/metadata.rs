//! `metadata.jsonl` as Hugging Face's imagefolder has it: a JSON object a line, with the `file_name` of an image and what
//! is said of it.

use serde_json::{Map, Value};

use super::text::decoded;

/// Name of the table.
const NAME: &str = "metadata.jsonl";
/// The key that names the image.
const FILE_NAME: &str = "file_name";
/// The keys that may hold captions; all that are there count.
const CAPTIONS: [&str; 5] = ["text", "caption", "captions", "prompt", "description"];

/// A row of a table.
pub(super) struct Row {
    pub(super) file_name: String,
    pub(super) captions: Vec<String>,
}

/// The rows of a table, and what is wrong with others.
#[derive(Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) unusable: Vec<String>,
}

/// Whether the file called `name` is such a table.
pub(super) fn is_metadata(name: &str) -> bool {
    name.rsplit('/').next() == Some(NAME)
}

/// The table in `content`, or why it cannot be read.
pub(super) fn table(content: &[u8]) -> Result<Table, String> {
    let mut table = Table::default();
    for (number, line) in decoded(content)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = number + 1;
        match serde_json::from_str::<Map<String, Value>>(line) {
            Err(_) => table.unusable.push(format!("line {number} is no JSON object")),
            Ok(row) => match row.get(FILE_NAME).and_then(Value::as_str) {
                None => table.unusable.push(format!("line {number} has no {FILE_NAME}")),
                Some(file_name) => table.rows.push(Row {
                    file_name: file_name.to_owned(),
                    captions: CAPTIONS
                        .iter()
                        .filter_map(|key| row.get(*key))
                        .flat_map(texts)
                        .collect(),
                }),
            },
        }
    }
    Ok(table)
}

/// The texts of a value: a string, or the strings of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => {
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
