//! One image file to one square of u8 pixels: any format, colour mode, orientation and size in, `image_size`
//! squared times `channels` out. The format comes from the content, never from the file's name. It trusts
//! nothing: sizes are checked before memory is taken, and a decoder that panics is an error like any other.
//!
//! Order of work: decode the first frame, apply the EXIF orientation, composite alpha on the background, cut
//! the centre square, resize it (Catmull-Rom over the whole area that a target pixel covers), then luma if
//! one channel is asked for.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::pixels::luma;
use crate::error::{Error, Result};

/// Most pixels a side: beyond any camera, and small enough that no product below overflows.
pub const MAX_SIDE: u32 = 16_384;
/// Most bytes one decoded image may take. Decoding runs on every core at once, so this bounds the peak.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Most bytes of a compressed file that are read into memory.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// Most pixels that a byte of a PNG, JPEG, BMP or GIF stands for. Deflate makes at most 1,032 bytes of one, of 8
/// pixels each; a JPEG spends at least a bit on a unit of at most 32 x 32 pixels. TIFF and WebP have no such bound.
const MAX_PIXELS_PER_BYTE: u64 = 8 * 1032;
/// Most bytes, beside the size of the file, that the metadata of a PNG may unpack to. A larger colour profile is left
/// out, which makes no difference: none is applied.
const PNG_METADATA_BYTES: u64 = 1 << 20;
/// A source this many times the target or more is first averaged over boxes, which is several times faster
/// and leaves the last resize a factor of at least 3: Pillow's `reducing_gap`, whose documentation calls the
/// result indistinguishable from a full resize in most cases at 3.
const REDUCING_GAP: u32 = 3;

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
    if width == 0 || height == 0 {
        return Err(format!("has no pixels ({width} x {height})"));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("is too large: {width} x {height} pixels, at most {MAX_SIDE} a side"));
    }
    let n_pixels = u64::from(width) * u64::from(height); // below 2^28
    // Every image becomes RGB on its way.
    let needed = decoder.total_bytes().max(3 * n_pixels);
    if needed > MAX_DECODED_BYTES {
        let (needed, limit) = (needed >> 20, MAX_DECODED_BYTES >> 20);
        return Err(format!(
            "is too large: {width} x {height} pixels take {needed} MiB, at most {limit} MiB"
        ));
    }
    let packs = matches!(
        format,
        ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::Gif
    );
    if packs && n_pixels / MAX_PIXELS_PER_BYTE > bytes.len() as u64 {
        return Err(format!(
            "is damaged: {width} x {height} pixels cannot be in {} bytes of {format:?}",
            bytes.len()
        ));
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

/// The centre square of `image` at the size and in the channels of `target`. `image` must not be empty.
pub(super) fn fit(image: RgbImage, target: &Target) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let side = width.min(height);
    // Cutting first keeps a 16,384 x 1 strip from growing to a strip of 32 times that; it is otherwise the
    // same as resizing the shorter side and cutting then.
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let size = target.image_size as u32;
    let square = match side / (REDUCING_GAP * size) {
        _ if side == width && side == height && side == size => image,
        0 | 1 => imageops::resize(
            &*imageops::crop_imm(&image, left, top, side, side),
            size,
            size,
            FilterType::CatmullRom,
        ),
        factor => {
            let reduced = box_reduce(&image, left, top, side, factor);
            imageops::resize(&reduced, size, size, FilterType::CatmullRom)
        }
    };
    match target.channels {
        1 => luma(&square),
        _ => square.into_raw(),
    }
}

/// The square at `left`, `top` averaged over `factor` by `factor` boxes. What the factor leaves over, less
/// than one target pixel, is cut evenly from the borders.
fn box_reduce(image: &RgbImage, left: u32, top: u32, side: u32, factor: u32) -> RgbImage {
    let n = side / factor;
    let margin = (side - n * factor) / 2;
    let (left, top) = ((left + margin) as usize, (top + margin) as usize);
    let (n, factor) = (n as usize, factor as usize);
    let stride = image.width() as usize * 3;
    // A box has at most MAX_SIDE squared pixels of at most 255: below 2^36.
    let area = (factor * factor) as u64;
    let mut out = RgbImage::new(n as u32, n as u32);
    let mut sums = vec![0u64; n * 3];
    for (box_row, out_row) in out.chunks_exact_mut(n * 3).enumerate() {
        sums.fill(0);
        let first = (top + box_row * factor) * stride + left * 3;
        for row in 0..factor {
            // n * factor <= side pixels from `left`, in rows below `top + side`: inside the image.
            let start = first + row * stride;
            let source = &image.as_raw()[start..start + n * factor * 3];
            for (sum, pixels) in sums.chunks_exact_mut(3).zip(source.chunks_exact(factor * 3)) {
                let mut totals = [0u32; 3];
                for pixel in pixels.chunks_exact(3) {
                    totals[0] += u32::from(pixel[0]);
                    totals[1] += u32::from(pixel[1]);
                    totals[2] += u32::from(pixel[2]);
                }
                sum.iter_mut().zip(totals).for_each(|(sum, total)| *sum += u64::from(total));
            }
        }
        for (to, &sum) in out_row.iter_mut().zip(&sums) {
            *to = ((sum + area / 2) / area) as u8;
        }
    }
    out
}
