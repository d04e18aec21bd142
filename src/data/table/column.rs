//! The values of one column by row. A row of a list has several, a row without a value none.

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::FileReader;

use super::blocks::Reader;

/// The reason why a library cannot read a table.
pub(super) fn damaged(error: impl std::fmt::Display) -> String {
    format!("cannot be read as Parquet: {error}")
}

/// The values of `n` rows of a column after the first `skip`.
pub(super) fn rows<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    max_def: i16,
    skip: usize,
    n: usize,
) -> Result<Vec<Vec<T::T>>, String> {
    if reader.skip_records(skip).map_err(damaged)? != skip {
        return Err("is damaged: a column ends early".to_owned());
    }
    let (mut defs, mut reps, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    while done < n {
        let (records, ..) = reader
            .read_records(n - done, Some(&mut defs), Some(&mut reps), &mut values)
            .map_err(damaged)?;
        if records == 0 {
            return Err("is damaged: a column ends early".to_owned());
        }
        done += records;
    }
    // A required column has no levels: each value is a row.
    if max_def == 0 {
        return Ok(values.into_iter().map(|value| vec![value]).collect());
    }
    let mut values = values.into_iter();
    let mut rows: Vec<Vec<T::T>> = Vec::new();
    for (i, def) in defs.into_iter().enumerate() {
        let continues = reps.get(i).is_some_and(|rep| *rep > 0);
        if !continues || rows.is_empty() {
            rows.push(Vec::new());
        }
        if def == max_def
            && let (Some(row), Some(value)) = (rows.last_mut(), values.next())
        {
            row.push(value);
        }
    }
    Ok(rows)
}

/// Applies `read` to the column `leaf` of each row group: its reader, its largest definition level and its rows.
fn by_group<V>(
    table: &Reader,
    leaf: usize,
    mut read: impl FnMut(ColumnReader, i16, usize) -> Result<Vec<V>, String>,
) -> Result<Vec<V>, String> {
    let mut all = Vec::new();
    for group in 0..table.num_row_groups() {
        let group = table.get_row_group(group).map_err(damaged)?;
        let n = usize::try_from(group.metadata().num_rows()).map_err(damaged)?;
        let max_def = group.metadata().column(leaf).column_descr().max_def_level();
        all.extend(read(group.get_column_reader(leaf).map_err(damaged)?, max_def, n)?);
    }
    Ok(all)
}

/// Whether the column `leaf` holds numbers.
pub(super) fn is_integers(table: &Reader, leaf: usize) -> bool {
    let column = table.metadata().file_metadata().schema_descr().column(leaf);
    matches!(column.physical_type(), Type::INT32 | Type::INT64 | Type::BOOLEAN)
}

/// The numbers of a column.
pub(super) fn integers(table: &Reader, leaf: usize) -> Result<Vec<Vec<i64>>, String> {
    fn widened<T>(rows: Vec<Vec<T>>, number: impl Fn(T) -> i64) -> Vec<Vec<i64>> {
        rows.into_iter().map(|row| row.into_iter().map(&number).collect()).collect()
    }
    by_group(table, leaf, |column, max_def, n| match column {
        ColumnReader::Int64ColumnReader(mut column) => rows(&mut column, max_def, 0, n),
        ColumnReader::Int32ColumnReader(mut column) => {
            Ok(widened(rows(&mut column, max_def, 0, n)?, i64::from))
        }
        ColumnReader::BoolColumnReader(mut column) => {
            Ok(widened(rows(&mut column, max_def, 0, n)?, i64::from))
        }
        _ => Err("has a column of classes that holds no whole numbers".to_owned()),
    })
}

/// The texts of a column; `undecoded` counts those that are not UTF-8, which are left out.
pub(super) fn texts(
    table: &Reader,
    leaf: usize,
    undecoded: &mut usize,
) -> Result<Vec<Vec<String>>, String> {
    by_group(table, leaf, |column, max_def, n| {
        let ColumnReader::ByteArrayColumnReader(mut column) = column else {
            return Err("has a column of texts that holds something else".to_owned());
        };
        let mut decoded = Vec::with_capacity(n);
        for row in rows(&mut column, max_def, 0, n)? {
            let mut all = Vec::with_capacity(row.len());
            for text in row {
                match std::str::from_utf8(text.data()) {
                    Ok(text) => all.push(text.to_owned()),
                    Err(_) => *undecoded += 1,
                }
            }
            decoded.push(all);
        }
        Ok(decoded)
    })
}
