//! One image file to one square of u8 pixels: any format, colour mode, orientation and size in, `image_size`
//! squared times `channels` out. The format comes from the content, never from the file's name. It trusts
//! nothing: sizes are checked before memory is taken, and a decoder that panics is an error like any other.
//!
//! Order of work: decode the first frame, apply the EXIF orientation, composite alpha on the background, cut
//! the centre square, resize it (Catmull-Rom over the whole area that a target pixel covers), then luma if
//! one channel is asked for.

mod limits;

mod resize;

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};
use limits::{MAX_FILE_BYTES, check_density, check_size};

pub use limits::{MAX_DECODED_BYTES, MAX_SIDE};
pub(super) use resize::fit;

/// Most bytes, beside the size of the file, that the metadata of a PNG may unpack to. A larger colour profile is left
/// out, which makes no difference: none is applied.
const PNG_METADATA_BYTES: u64 = 1 << 20;

/// What every image is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Height and width in pixels, at least 1.
    pub image_size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// What transparent pixels are composited on.
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
/// The file cannot be read, is no image of a known format, is damaged, or is too large.
pub fn decode_file(path: impl AsRef<Path>, target: &Target) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let bytes = read_bounded(path).map_err(|reason| Error::file(path, reason))?;
    decode(&bytes, target).map_err(|reason| Error::file(path, reason))
}

/// The image in `bytes`, `[image_size, image_size, channels]`. `name` is for the message of an error.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(name: &str, bytes: &[u8], target: &Target) -> Result<Vec<u8>> {
    decode(bytes, target).map_err(|reason| Error::file(name, reason))
}

/// The content of a regular file of at most [`MAX_FILE_BYTES`], or the reason why not.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked of the path first: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_string());
    }
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(format!("is larger than {limit} MiB, the most that is read of one image"));
    }
    Ok(bytes)
}

/// [`decode_bytes`] with the bare reason as the error.
pub(super) fn decode(bytes: &[u8], target: &Target) -> Result<Vec<u8>, String> {
    let Target { image_size, channels, .. } = *target;
    if !(1..=MAX_SIDE as usize).contains(&image_size) || !matches!(channels, 1 | 3) {
        return Err(format!("cannot become {image_size} x {image_size} x {channels}"));
    }
    // The decoders are other people's code reading other people's files: a panic in one of them must cost
    // one image, not hours of training. Nothing is shared, so nothing is left half changed.
    catch_unwind(AssertUnwindSafe(|| Ok(fit(decode_rgb(bytes, target.background)?, target))))
        .unwrap_or_else(|_| Err("made its decoder panic; the file is damaged".to_string()))
}

/// The upright image, composited on `background`, in its own size.
fn decode_rgb(bytes: &[u8], background: [u8; 3]) -> Result<RgbImage, String> {
    let format = image::guess_format(bytes).map_err(|_| not_an_image(bytes))?;
    let damaged = |error: image::ImageError| format!("cannot be decoded as {format:?}: {error}");
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        // The JPEG decoder fills what is missing with grey and reports success.
        return Err("is a truncated JPEG: the data ends before its end marker".to_string());
    }

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(match format {
        // Not for the pixels, whose bound is below, but for colour profiles, which unpack to any size.
        ImageFormat::Png => PNG_METADATA_BYTES + bytes.len() as u64,
        _ => MAX_DECODED_BYTES,
    });
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, decoder.total_bytes())?;
    if matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::Gif)
    {
        check_density(width, height, bytes.len(), &format!("{format:?}"))?;
    }
    // Metadata that cannot be read leaves an image as it is stored, which is right for nearly all.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    Ok(composite(image, background))
}

fn not_an_image(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "is empty".to_string();
    }
    "is not a PNG, JPEG, WebP, BMP, GIF or TIFF image".to_string()
}

/// Whether a JPEG reaches its end marker. Walks the segments, so that the end marker of a thumbnail inside
/// the metadata does not count.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start marker
    loop {
        // Between segments, and inside entropy-coded data, 0xFF and a byte other than 0 is a marker.
        let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff))
        else {
            return false;
        };
        at += offset + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xd9) => return true,
            // A stuffed zero, a restart marker, a start marker: no length follows.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            // Fill bytes: the marker is still to come.
            Some(0xff) => {}
            Some(_) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

/// 8-bit RGB, with alpha composited on `background`.
fn composite(image: DynamicImage, background: [u8; 3]) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (source, to) in rgba.pixels().zip(rgb.pixels_mut()) {
        let alpha = u32::from(source.0[3]);
        for ((to, &colour), &behind) in to.0.iter_mut().zip(&source.0).zip(&background) {
            *to =
                ((u32::from(colour) * alpha + u32::from(behind) * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}
