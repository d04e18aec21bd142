//! One image file to one square of u8 pixels: any format, colour mode, orientation and size in, `image_size` squared
//! times `channels` out. The format is detected from the content, never from the file's name. Input is untrusted: sizes
//! are checked before memory is allocated, and a panic in a decoder becomes an error.
//!
//! The steps: decode the first frame, convert its colours to sRGB, reduce them to 8 bits, composite alpha on the
//! background, apply the orientation, crop the centre square, resize it (Catmull-Rom over the whole area that a target
//! pixel covers), then compute luma for one channel.

mod header;

mod limits;

mod raster;

mod format;

mod stock;

mod png_colour;

mod bmp_colour;

mod jpeg;

mod tiff;

mod lab;

mod colour;

mod flatten;

mod resize;

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Result};
use format::Format;
pub(crate) use header::Header;
pub(super) use resize::fit;

pub(super) use limits::MAX_FILE_BYTES;
pub use limits::{MAX_DECODED_BYTES, MAX_SIDE};

/// What every image is decoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Height and width in pixels, at least 1.
    pub image_size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Background for transparent pixels.
    pub background: [u8; 3],
}

impl Target {
    /// The length of one image in bytes.
    pub fn n_bytes(&self) -> usize {
        self.image_size * self.image_size * self.channels
    }
}

/// The image in the file at `path`, `[image_size, image_size, channels]`.
///
/// # Errors
/// The file cannot be read, is not an image of a known format, is damaged, or is too large.
pub fn decode_file(path: impl AsRef<Path>, target: &Target) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let bytes = read_bounded(path).map_err(|reason| Error::file(path, reason))?;
    decode(&bytes, target).map(|square| square.pixels).map_err(|reason| Error::file(path, reason))
}

/// The image in `bytes`, `[image_size, image_size, channels]`. `name` is for error messages.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(name: &str, bytes: &[u8], target: &Target) -> Result<Vec<u8>> {
    decode(bytes, target).map(|square| square.pixels).map_err(|reason| Error::file(name, reason))
}

/// The content of a regular file of at most 512 MiB, or the reason why it is refused.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // The path's metadata first: opening a pipe would block until there is a writer.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_string());
    }
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    check_file_size(bytes.len() as u64)?;
    Ok(bytes)
}

/// Refuses a file of more bytes than are read into memory.
pub(super) fn check_file_size(n_bytes: u64) -> Result<(), String> {
    if n_bytes > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(format!("is larger than {limit} MiB, the most that is read of one image"));
    }
    Ok(())
}

/// A decoded image.
pub(super) struct Square {
    /// `[image_size, image_size, channels]`.
    pub(super) pixels: Vec<u8>,
    /// How its colours were handled.
    pub(super) colours: Colours,
}

/// How the colours of an image were handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Colours {
    /// They are sRGB.
    AsStored,
    /// They were converted to sRGB.
    Converted,
    /// They are treated as sRGB, as their profile cannot be converted: "damaged", "of kind ...".
    Unconverted(String),
}

/// [`decode_bytes`] with only the reason as the error, and how the colours were handled.
pub(super) fn decode(bytes: &[u8], target: &Target) -> Result<Square, String> {
    let Target { image_size, channels, background } = *target;
    if !(1..=MAX_SIDE as usize).contains(&image_size) || !matches!(channels, 1 | 3) {
        return Err(format!("cannot be decoded to {image_size} x {image_size} x {channels}"));
    }
    // Third-party decoders read untrusted files: a panic in one of them must cost one image, not hours of training.
    // Nothing is shared, so nothing is left half changed.
    catch_unwind(AssertUnwindSafe(|| {
        let raster = match Format::of(bytes)? {
            Format::Jpeg => jpeg::decode(bytes),
            Format::Tiff => tiff::decode(bytes),
            Format::Stock(format) => stock::decode(bytes, format),
        }?;
        let (image, colours) = flatten::flatten(raster, background)?;
        Ok(Square { pixels: fit(image, target), colours })
    }))
    .unwrap_or_else(|_| Err("made its decoder panic; the file is damaged".to_string()))
}
