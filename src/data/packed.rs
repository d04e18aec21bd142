//! Shared by the IDX and CIFAR-10 readers: a whole data set as equally sized raw images in memory, and reading a file
//! of a declared length without trusting the declaration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use image::RgbImage;

use super::decode::fit;
use super::pixels::{grey_to_rgb, luma};
use super::{Split, Target};
use crate::error::{Error, Result};

/// Most bytes of raw pixels that one file may declare: forty times MNIST.
pub(super) const MAX_PACKED_BYTES: u64 = 2 << 30;

/// The most that a gzipped file may expand to, as a multiple of its size (MNIST: 5), plus a slack for small, repetitive
/// files such as sorted labels. Deflate reaches 1,032, which would turn a file of 2 MB into 2 GiB.
const MAX_GZIP_RATIO: u64 = 64;
const GZIP_SLACK: u64 = 4 << 20;
/// Labels of both formats are one byte.
const MAX_CLASSES: usize = 256;

/// Raw images of one size, concatenated, channels last.
pub(super) struct Packed {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
}

/// One image of a packed set, before it has a split.
pub(super) struct PackedItem {
    pub(super) name: String,
    pub(super) label: u16,
    /// The split in which it was published, validation or test.
    pub(super) published: Option<Split>,
}

/// A packed data set as stored in its files; item `i` is image `i` of `images`.
pub(super) struct PackedSet {
    pub(super) images: Packed,
    pub(super) items: Vec<PackedItem>,
    pub(super) classes: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Packed {
    /// The bytes of image `index`, that of an item.
    pub(super) fn raw(&self, index: usize) -> Result<&[u8], String> {
        let length = self.width * self.height * self.channels;
        let raw = self.pixels.get(index * length..(index + 1) * length);
        raw.ok_or_else(|| format!("image {index} lies beyond the end of its file"))
    }

    /// Swaps the rows and columns of every image.
    pub(super) fn transpose(&mut self) {
        let (width, height, channels) = (self.width, self.height, self.channels);
        for image in self.pixels.chunks_exact_mut(width * height * channels) {
            let stored = image.to_vec();
            for (at, to) in image.chunks_exact_mut(channels).enumerate() {
                // Rows become `height` pixels long.
                let from = (at % height * width + at / height) * channels;
                to.copy_from_slice(&stored[from..from + channels]);
            }
        }
        (self.width, self.height) = (height, width);
    }

    /// Image `index`, decoded to `target`.
    pub(super) fn decode(&self, index: usize, target: &Target) -> Result<Vec<u8>, String> {
        let raw = self.raw(index)?;
        if self.width == target.image_size && self.height == target.image_size {
            return Ok(match (self.channels, target.channels) {
                (1, 3) => grey_to_rgb(raw),
                (3, 1) => luma(raw),
                _ => raw.to_vec(),
            });
        }
        let rgb = if self.channels == 1 { grey_to_rgb(raw) } else { raw.to_vec() };
        let image = RgbImage::from_raw(self.width as u32, self.height as u32, rgb);
        Ok(fit(image.ok_or("has a size that does not match its pixels")?, target))
    }
}

/// Refuses a gzipped file that declares far more data than images of its size hold.
pub(super) fn check_ratio(path: &Path, announced: u64) -> Result<()> {
    if !is_gzip(path)? {
        return Ok(());
    }
    let size = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    let most = size.saturating_mul(MAX_GZIP_RATIO).saturating_add(GZIP_SLACK);
    if announced <= most {
        return Ok(());
    }
    let message = format!(
        "declares {announced} bytes of data in {size} bytes of gzip; at most {most} are decompressed (gunzip it)"
    );
    Err(Error::file(path, message))
}

/// Whether the file at `path` begins like gzip, whatever its name.
fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = open_regular(path)?;
    file.take(2).read_to_end(&mut start).map_err(|e| Error::io("read", path, e))?;
    Ok(start == [0x1f, 0x8b])
}

fn open_regular(path: &Path) -> Result<File> {
    let io = |source| Error::io("read", path, source);
    let file = File::open(path).map_err(io)?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    Ok(file)
}

/// The content of `path`, decompressed if it is gzip, read to its end or to `limit + 1` bytes, whichever comes first.
/// Memory grows with what is there, not with what a header declares.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let is_gzip = is_gzip(path)?;
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    if is_gzip {
        MultiGzDecoder::new(file).take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(
            |error| {
                Error::file(path, format!("cannot be decompressed: {error} (truncated or damaged)"))
            },
        )?;
    } else {
        let io = |source| Error::io("read", path, source);
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    }
    Ok(bytes)
}

/// The non-empty lines of a file of class names, one per line; `None` if there is no such file.
pub(super) fn read_class_names(path: &Path) -> Result<Option<Vec<String>>> {
    /// Far more than any list of class names.
    const MAX_BYTES: u64 = 1 << 20;
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = read_limited(path, MAX_BYTES)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, format!("is larger than {MAX_BYTES} bytes of class names")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::file(path, "is not UTF-8 text; write one class name per line"))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect();
    if names.is_empty() {
        return Err(Error::file(path, "holds no class name; write one per line"));
    }
    if names.len() > MAX_CLASSES {
        let message = format!(
            "holds {} class names; labels are one byte, so at most {MAX_CLASSES}",
            names.len()
        );
        return Err(Error::file(path, message));
    }
    Ok(Some(names))
}
