//! The pixels of a JPEG. Two decoders: `zune-jpeg` is fast and correct for the layouts that cameras and editors write;
//! `jpeg-decoder` is correct for the others.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Complete;
use super::header::Frame;
use super::scan::own_blocks;

/// Which samples to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The components as stored.
    Stored,
    /// Three components, converted from YCbCr to RGB.
    RgbOfYCbCr,
}

/// The samples `[height, width, components]`.
pub(super) fn unpack(complete: &Complete<'_>, wanted: Wanted) -> Result<Vec<u8>, String> {
    let frame = &complete.frame;
    let by_zune = match zune_is_right(frame, complete.n_scans) {
        true => with_zune(complete, wanted),
        false => None,
    };
    let samples = match by_zune {
        Some(samples) => samples,
        None if !complete.is_proven => return Err("may be incomplete".to_string()),
        None if jpeg_decoder_is_right(frame) => with_jpeg_decoder(complete, wanted)?,
        None => {
            let factors: Vec<String> =
                frame.components.iter().map(|c| format!("{} x {}", c.h, c.v)).collect();
            return Err(format!(
                "is a JPEG of an unsupported layout (sampling factors {}); convert it to a PNG",
                factors.join(", ")
            ));
        }
    };
    let Frame { width, height, ref components, .. } = complete.frame;
    let expected = width as usize * height as usize * components.len();
    if samples.len() != expected {
        let n = samples.len();
        return Err(format!("cannot be decoded as JPEG: {n} samples instead of {expected}"));
    }
    Ok(samples)
}

/// Whether `zune-jpeg` 0.5.15 is correct for such a file: it is not for sequential files of several scans with vertical
/// subsampling or restart markers (etemesi254/zune-image #422), nor where the first component is not the finest. Found
/// by comparing 1,600 layouts with libjpeg-turbo.
fn zune_is_right(frame: &Frame, n_scans: usize) -> bool {
    let (h_max, v_max) = frame.max_factors();
    let first_is_finest = frame.components.first().is_some_and(|c| (c.h, c.v) == (h_max, v_max));
    let divide = frame.components.iter().all(|c| h_max % c.h == 0 && v_max % c.v == 0);
    (frame.progressive || n_scans == 1) && first_is_finest && divide && h_max != 3
}

/// Whether `jpeg-decoder` 0.3.2 is correct for such a file: for a component with a scan of its own it reads as many
/// blocks as its size has when padded to that of the whole image, which is too many for some components.
fn jpeg_decoder_is_right(frame: &Frame) -> bool {
    let (h_max, v_max) = frame.max_factors();
    let blocks_read = |pixels: u32, factor: u32, largest: u32| {
        (pixels.div_ceil(8 * largest) * factor).min(pixels.div_ceil(8))
    };
    frame.components.iter().all(|&c| {
        let read = (blocks_read(frame.width, c.h, h_max), blocks_read(frame.height, c.v, v_max));
        read == own_blocks(frame, c)
    })
}

/// The samples, or `None` where data is missing or damaged, or where it would misinterpret the colours.
fn with_zune(complete: &Complete<'_>, wanted: Wanted) -> Option<Vec<u8>> {
    // Otherwise it turns what it cannot decode grey.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*complete.bytes), options);
    decoder.decode_headers().ok()?;
    // Its own interpretation of the colours is overruled by requesting them as stored, or checked.
    let n = complete.frame.components.len();
    let input = decoder.input_colorspace().unwrap_or(ColorSpace::Unknown);
    let output = match (wanted, n) {
        (Wanted::Stored, 1) => ColorSpace::Luma,
        // Three components that it calls CMYK it finally treats as RGB.
        (Wanted::Stored, 3) if input == ColorSpace::CMYK => ColorSpace::RGB,
        (Wanted::Stored, _) if input.num_components() == n => input,
        (Wanted::RgbOfYCbCr, _) if input == ColorSpace::YCbCr => ColorSpace::RGB,
        _ => return None,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    decoder.decode().ok()
}

fn with_jpeg_decoder(complete: &Complete<'_>, wanted: Wanted) -> Result<Vec<u8>, String> {
    use jpeg_decoder::ColorTransform;
    let mut decoder = jpeg_decoder::Decoder::new(&*complete.bytes);
    let n = complete.frame.components.len();
    decoder.set_color_transform(match (wanted, n) {
        (_, 1) => ColorTransform::Grayscale,
        (Wanted::RgbOfYCbCr, 3) => ColorTransform::YCbCr,
        (Wanted::Stored, 3) => ColorTransform::RGB,
        _ => ColorTransform::CMYK,
    });
    let decoded = decoder.decode();
    let mut samples = decoded.map_err(|error| format!("cannot be decoded as JPEG: {error}"))?;
    if n == 4 {
        // It inverts CMYK.
        samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
    }
    Ok(samples)
}
