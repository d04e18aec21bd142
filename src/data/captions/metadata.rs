//! Tables of metadata as Hugging Face's imagefolder has them: `metadata.jsonl` with a JSON object a line, and
//! `metadata.csv` with a header, each with the `file_name` of an image and what is said of it.

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::text::decoded;
use crate::data::report::listed;

/// Names of the tables.
const JSON_LINES: &str = "metadata.jsonl";
const CSV: &str = "metadata.csv";
/// The key that names the image.
const FILE_NAME: &str = "file_name";
/// The keys that may hold captions; all that are there count.
pub(in crate::data) const CAPTIONS: [&str; 5] =
    ["text", "caption", "captions", "prompt", "description"];

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
    matches!(name.rsplit('/').next(), Some(JSON_LINES | CSV))
}

/// The table called `name` with this content, or why it cannot be read.
pub(super) fn table(name: &str, content: &[u8]) -> Result<Table, String> {
    if name.ends_with(CSV) { of_csv(content) } else { of_json_lines(content) }
}

fn of_json_lines(content: &[u8]) -> Result<Table, String> {
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
                Some(file_name) => table
                    .rows
                    .push(Row { file_name: file_name.to_owned(), captions: captions_in(&row) }),
            },
        }
    }
    Ok(table)
}

/// The captions in the JSON file of an image; none in one of another kind.
pub(super) fn captions(content: &[u8]) -> Vec<String> {
    let row = decoded(content).ok().and_then(|content| serde_json::from_str(content).ok());
    row.map_or_else(Vec::new, |row| captions_in(&row))
}

fn captions_in(row: &Map<String, Value>) -> Vec<String> {
    CAPTIONS.iter().filter_map(|key| row.get(*key)).flat_map(texts).collect()
}

/// Rows count from the one after the header, since one may have several lines. Those that end early lack their last columns; what follows the last column is left out.
fn of_csv(content: &[u8]) -> Result<Table, String> {
    let content = decoded(content)?;
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(content.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let columns: Vec<&str> = header.iter().map(str::trim).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let Some(file_name) = column(FILE_NAME) else {
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        return Err(format!("has no column {FILE_NAME}, but {}", listed(&columns, ", ")));
    };
    let captions: Vec<usize> = CAPTIONS.iter().filter_map(|name| column(name)).collect();
    let mut table = Table::default();
    let mut record = StringRecord::new();
    for number in 1.. {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(table),
            Ok(true) => match record.get(file_name).filter(|name| !name.trim().is_empty()) {
                None => table.unusable.push(format!("row {number} has no {FILE_NAME}")),
                Some(name) => table.rows.push(Row {
                    file_name: name.to_owned(),
                    captions: captions
                        .iter()
                        .filter_map(|column| record.get(*column))
                        .map(str::to_owned)
                        .collect(),
                }),
            },
            Err(error) => return Err(error.to_string()),
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
