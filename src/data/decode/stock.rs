//! PNG, WebP, BMP and GIF: the crate `image` decodes them, the first frame of several. Their colour information is read
//! by [`super::png_colour`] and [`super::bmp_colour`] where the crate does not.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::limits::{MAX_DECODED_BYTES, check_density, check_size};
use super::raster::{Alpha, Channels, Colour, Raster, Samples};
use super::{bmp_colour, png_colour};

/// Most bytes, beyond the size of the file, that the metadata of a PNG may decompress to. Colour profiles hardly ever
/// compress to less than half, so any up to 2 MiB is read; a larger one is reported.
const PNG_METADATA_BYTES: u64 = 1 << 20;

/// The image in a file of `format`.
pub(super) fn decode(bytes: &[u8], format: ImageFormat) -> Result<Raster, String> {
    let damaged = |error: image::ImageError| format!("cannot be decoded as {format:?}: {error}");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(match format {
        // Not for the pixels, which are bounded below, but for colour profiles, which decompress to any size.
        ImageFormat::Png => PNG_METADATA_BYTES + bytes.len() as u64,
        _ => MAX_DECODED_BYTES,
    });
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, u64::from(decoder.color_type().bytes_per_pixel()))?;
    if format != ImageFormat::WebP {
        check_density(width, height, bytes.len(), &format!("{format:?}"))?;
    }
    // Metadata that cannot be read leaves an image as stored, which is right for nearly all.
    let mut orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder.icc_profile();
    let colour = match format {
        ImageFormat::Png => {
            let chunks = png_colour::read(bytes);
            orientation = chunks.orientation.unwrap_or(orientation);
            chunks.colour(profile.ok().flatten())
        }
        ImageFormat::Bmp => bmp_colour::read(bytes),
        _ => match profile {
            Ok(Some(profile)) => Colour::Icc(profile),
            Ok(None) => Colour::Srgb,
            Err(error) => Colour::Unknown(format!("damaged: {error}")),
        },
    };
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let (channels, alpha, samples) = match image {
        DynamicImage::ImageLuma8(image) => {
            (Channels::Grey, Alpha::None, Samples::U8(image.into_raw()))
        }
        DynamicImage::ImageLumaA8(image) => {
            (Channels::Grey, Alpha::Straight, Samples::U8(image.into_raw()))
        }
        DynamicImage::ImageRgb8(image) => {
            (Channels::Rgb, Alpha::None, Samples::U8(image.into_raw()))
        }
        DynamicImage::ImageRgba8(image) => {
            (Channels::Rgb, Alpha::Straight, Samples::U8(image.into_raw()))
        }
        DynamicImage::ImageLuma16(image) => {
            (Channels::Grey, Alpha::None, Samples::U16(image.into_raw()))
        }
        DynamicImage::ImageLumaA16(image) => {
            (Channels::Grey, Alpha::Straight, Samples::U16(image.into_raw()))
        }
        DynamicImage::ImageRgb16(image) => {
            (Channels::Rgb, Alpha::None, Samples::U16(image.into_raw()))
        }
        DynamicImage::ImageRgba16(image) => {
            (Channels::Rgb, Alpha::Straight, Samples::U16(image.into_raw()))
        }
        other => {
            let kind = other.color();
            return Err(format!("has samples of an unsupported kind ({kind:?})"));
        }
    };
    Ok(Raster { width, height, samples, channels, alpha, colour, orientation })
}
