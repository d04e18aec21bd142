//! The images of a table, read in blocks of consecutive rows: a page of the file holds many rows and is decompressed as a
//! whole. The blocks read last are kept, so that reading in the order of rows, on several threads, decompresses each page
//! about once; in another order it may be once an image.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::Result as TableResult;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;

use super::column::{damaged, rows};

/// The bytes of images that a page should have, which is the default of most writers.
const PAGE_BYTES: u64 = 1 << 20;
/// The rows after which pyarrow, which writes most tables, first looks how large a page has become.
const PAGE_ROWS: u64 = 1024;
/// The most bytes of images in a block, about.
const MOST_BYTES: u64 = 64 << 20;
/// The most rows in a block.
const MOST_ROWS: u64 = 1 << 14;
/// The most bytes of images in the blocks that are kept; one block is kept in any case.
const MOST_KEPT: usize = 256 << 20;

/// A table whose metadata was read.
pub(super) type Reader = SerializedFileReader<Reopened>;

/// A file that is opened anew for each read, so that threads do not share a position.
pub(super) struct Reopened {
    path: PathBuf,
    len: u64,
}

impl Reopened {
    fn at(&self, start: u64) -> std::io::Result<File> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl Length for Reopened {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Reopened {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> TableResult<Self::T> {
        Ok(BufReader::new(self.at(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> TableResult<bytes::Bytes> {
        // Memory grows with what is there, not with what is declared.
        let mut bytes = Vec::new();
        self.at(start)?.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() != length {
            let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(end.into());
        }
        Ok(bytes.into())
    }
}

/// Reads the metadata of the table at `path`.
pub(super) fn open(path: &Path) -> Result<Reader, String> {
    let len = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    SerializedFileReader::new(Reopened { path: path.to_owned(), len }).map_err(damaged)
}

/// The images of a table by row.
pub(super) struct Blocks {
    path: PathBuf,
    reader: Reader,
    /// The column of images.
    leaf: usize,
    /// The first row of each row group, and the number of rows at last.
    starts: Vec<usize>,
    /// Rows in a block; the last of a row group may have fewer.
    rows: usize,
    read_last: Mutex<VecDeque<Block>>,
}

/// Consecutive rows of a row group.
struct Block {
    group: usize,
    index: usize,
    images: Images,
    bytes: usize,
}

/// The images of a block by row, each copied out of its page, which would stay in memory with it; `None` for a row without
/// one.
type Images = Arc<Vec<Option<Vec<u8>>>>;

impl Blocks {
    pub(super) fn new(path: &Path, reader: Reader, leaf: usize) -> Self {
        let groups = reader.metadata().row_groups();
        let mut starts = vec![0usize];
        let mut bytes = 0u64;
        for group in groups {
            let n = usize::try_from(group.num_rows()).unwrap_or_default();
            starts.push(starts.last().copied().unwrap_or_default().saturating_add(n));
            let column = group.column(leaf);
            bytes =
                bytes.saturating_add(u64::try_from(column.uncompressed_size()).unwrap_or_default());
        }
        let n = starts.last().copied().unwrap_or_default() as u64;
        let a_row = (bytes / n.max(1)).max(1);
        let rows = (PAGE_BYTES / a_row).max(PAGE_ROWS.min(MOST_BYTES / a_row));
        let rows = rows.clamp(1, MOST_ROWS) as usize;
        let (path, read_last) = (path.to_owned(), Mutex::new(VecDeque::new()));
        Self { path, reader, leaf, starts, rows, read_last }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or_default()
    }

    /// The image in row `row`.
    pub(super) fn image(&self, row: usize) -> Result<Vec<u8>, String> {
        let beyond = || format!("lies beyond the end of {}", self.path.display());
        let group = self.starts.partition_point(|start| *start <= row).checked_sub(1);
        let group = group.filter(|_| row < self.len()).ok_or_else(beyond)?;
        let at = row - self.starts[group];
        let images = self.block(group, at / self.rows)?;
        let image = images.get(at % self.rows).ok_or_else(beyond)?;
        image.clone().ok_or_else(|| "is a row without an image".to_owned())
    }

    fn block(&self, group: usize, index: usize) -> Result<Images, String> {
        let lock = || self.read_last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |block: &&Block| block.group == group && block.index == index;
        if let Some(block) = lock().iter().find(is_it) {
            return Ok(Arc::clone(&block.images));
        }
        // Not under the lock: other threads read other blocks meanwhile.
        let reader = self.reader.get_row_group(group).map_err(damaged)?;
        let max_def = reader.metadata().column(self.leaf).column_descr().max_def_level();
        let first = index * self.rows;
        let n = (self.starts[group + 1] - self.starts[group] - first).min(self.rows);
        let ColumnReader::ByteArrayColumnReader(mut column) =
            reader.get_column_reader(self.leaf).map_err(damaged)?
        else {
            return Err("has a column of images that holds no bytes".to_owned());
        };
        let image = |row: Vec<ByteArray>| row.first().map(|image| image.data().to_vec());
        let images: Vec<Option<Vec<u8>>> =
            rows(&mut column, max_def, first, n)?.into_iter().map(image).collect();
        let bytes = images.iter().flatten().map(Vec::len).sum();
        let images = Arc::new(images);
        let mut read_last = lock();
        let mut kept = bytes + read_last.iter().map(|block| block.bytes).sum::<usize>();
        // One a thread that reads, and as many again, as far as memory allows.
        while read_last.len() >= 2 * rayon::current_num_threads() || kept > MOST_KEPT {
            match read_last.pop_front() {
                Some(block) => kept -= block.bytes,
                None => break,
            }
        }
        read_last.push_back(Block { group, index, images: Arc::clone(&images), bytes });
        Ok(images)
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("path", &self.path).field("len", &self.len()).finish()
    }
}
