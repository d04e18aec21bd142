//! JPEG. Decoders conceal errors: missing data becomes grey, and some layouts are decoded wrongly without an error. So
//! the pixels come from a decoder that is correct for the layout, and it is verified that the data of every pixel is in
//! the file:
//!
//! - For nearly all photographs (one scan, no restart markers), by the decoder itself. Its data is followed by ones,
//!   which are no code of any table that the standard allows (ITU-T T.81, annex C), so it fails if it reads past the
//!   end.
//! - For the rest, and where that fails, by [`scan`], which reads every code first.

mod bits;

mod header;

mod scan;

mod unpack;

use std::borrow::Cow;

use super::limits::{check_density, check_size};
use super::raster::{Alpha, Channels, Colour, Raster, Samples};
use header::{Frame, Header, Transform};
use image::metadata::Orientation;
use scan::{Coverage, next_marker};
use unpack::{Wanted, unpack};

/// Most scans of a file. Progressive files have about ten; a scan of a few bytes may cost a pass over all blocks.
const MAX_SCANS: usize = 300;

/// A JPEG, parsed up to its pixels, or through them.
struct Complete<'a> {
    header: Header<'a>,
    frame: Frame,
    /// The file up to its end marker, which is appended where it is missing.
    bytes: Cow<'a, [u8]>,
    n_scans: usize,
    /// Whether every code was read. Otherwise only a decoder that reports missing data is trusted.
    is_proven: bool,
}

/// The image in a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Raster, String> {
    let (complete, (channels, samples)) =
        in_doubt_proven(bytes, |complete| pixels(complete, complete.header.transform()))?;
    let colour = match complete.header.profile() {
        None => Colour::Srgb,
        Some(Ok(profile)) => Colour::Icc(profile.into_owned()),
        Some(Err(reason)) => Colour::Unknown(reason),
    };
    let exif = complete.header.exif();
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    Ok(Raster {
        width: complete.frame.width,
        height: complete.frame.height,
        samples: Samples::U8(samples),
        channels,
        alpha: Alpha::None,
        colour,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

/// The picture in a JPEG stream inside another format: width, height, samples per pixel, samples. Three components are
/// converted from YCbCr to RGB if `from_ycbcr`; everything else is as stored, whatever the stream declares about its
/// colours.
pub(super) fn decode_piece(
    bytes: &[u8],
    from_ycbcr: bool,
) -> Result<(u32, u32, usize, Vec<u8>), String> {
    let (complete, samples) = in_doubt_proven(bytes, |complete| {
        let converts = from_ycbcr && complete.frame.components.len() == 3;
        unpack(complete, if converts { Wanted::RgbOfYCbCr } else { Wanted::Stored })
    })?;
    let Frame { width, height, ref components, .. } = complete.frame;
    Ok((width, height, components.len(), samples))
}

/// The result of `decode` for a file; if it fails, again after reading every code.
fn in_doubt_proven<'a, T>(
    bytes: &'a [u8],
    decode: impl Fn(&Complete<'a>) -> Result<T, String>,
) -> Result<(Complete<'a>, T), String> {
    let complete = read(bytes, true)?;
    match decode(&complete) {
        Ok(decoded) => Ok((complete, decoded)),
        Err(reason) if complete.is_proven => Err(reason),
        Err(_) => {
            let complete = read(bytes, false)?;
            let decoded = decode(&complete)?;
            Ok((complete, decoded))
        }
    }
}

/// Parses a file to its last code, or, if a decoder may verify it, to its pixels.
fn read(bytes: &[u8], by_decoder: bool) -> Result<Complete<'_>, String> {
    let mut header = Header::default();
    let mut coverage: Option<Coverage> = None;
    let mut n_scans = 0;
    let mut at = 2; // after the start marker
    let truncated = || "is a truncated JPEG: it ends before its last pixel".to_string();
    let end = loop {
        let Some((after, marker)) = next_marker(bytes, at) else { return Err(truncated()) };
        at = after;
        match marker {
            // A start marker, or a restart marker outside a scan: no length follows.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 if coverage.as_ref().is_some_and(Coverage::has_every_block) => break at,
            0xd9 => return Err(truncated()),
            _ => {}
        }
        let length = bytes.get(at..at + 2).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])));
        let data = length.and_then(|length| bytes.get(at + 2..at + length.max(2)));
        let data = data.ok_or_else(truncated)?;
        at += 2 + data.len();
        if marker != 0xda {
            header.take(marker, data)?;
            if let (None, Some(frame)) = (&coverage, &header.frame) {
                check_size(frame.width, frame.height, frame.components.len().max(3) as u64)?;
                check_density(frame.width, frame.height, bytes.len(), "JPEG")?;
                coverage = Some(Coverage::new(frame));
            }
            continue;
        }
        n_scans += 1;
        if n_scans > MAX_SCANS {
            return Err(format!("is a JPEG of more than {MAX_SCANS} scans; it is damaged"));
        }
        if by_decoder
            && n_scans == 1
            && let Some(frame) = &header.frame
            && let Some(padded) = padded_scan(&header, frame, data, bytes, at)
        {
            let (frame, bytes) = (frame.clone(), Cow::Owned(padded));
            return Ok(Complete { header, frame, bytes, n_scans, is_proven: false });
        }
        let coverage =
            coverage.as_mut().ok_or("is a damaged JPEG: a scan comes before the frame")?;
        at = scan::follow(&header, coverage, data, bytes, at)?;
        // What follows may be a trailer added by the camera instead of an end marker.
        if coverage.is_complete() {
            break at;
        }
    };
    let frame = header.frame.clone().ok_or_else(truncated)?;
    let has_end = bytes[..end].ends_with(&[0xff, 0xd9]);
    let bytes = match next_marker(bytes, end) {
        _ if has_end => Cow::Borrowed(&bytes[..end]),
        Some((after, 0xd9)) => Cow::Borrowed(&bytes[..after]),
        _ => Cow::Owned([&bytes[..end], &[0xff, 0xd9]].concat()),
    };
    Ok(Complete { header, frame, bytes, n_scans, is_proven: true })
}

/// The file with ones between its only scan, whose header is `data` and whose codes begin at `at`, and its end marker;
/// `None` if it has more scans, or restart markers, at which a decoder could resynchronise after a gap.
fn padded_scan(
    header: &Header<'_>,
    frame: &Frame,
    data: &[u8],
    bytes: &[u8],
    at: usize,
) -> Option<Vec<u8>> {
    // More than a decoder buffers, each followed by the zero that prevents a marker.
    let ones = [0xff, 0].repeat(16);
    let is_only_scan = !frame.progressive
        && header.restart_interval == 0
        && data.first().is_some_and(|&n| usize::from(n) == frame.components.len());
    let (after, marker) = next_marker(bytes, at).filter(|_| is_only_scan)?;
    let marks = bytes[at..after - 1].iter().rev().take_while(|&&byte| byte == 0xff).count();
    let end = after - 1 - marks;
    (marker == 0xd9).then(|| [&bytes[..end], &ones, &[0xff, 0xd9]].concat())
}

/// The pixels, converted by `transform`.
fn pixels(complete: &Complete<'_>, transform: Transform) -> Result<(Channels, Vec<u8>), String> {
    Ok(match transform {
        Transform::Grey => (Channels::Grey, unpack(complete, Wanted::Stored)?),
        Transform::Rgb => (Channels::Rgb, unpack(complete, Wanted::Stored)?),
        Transform::YCbCr => (Channels::Rgb, unpack(complete, Wanted::RgbOfYCbCr)?),
        Transform::Cmyk | Transform::Ycck => {
            let mut samples = unpack(complete, Wanted::Stored)?;
            let (pixels, _) = samples.as_chunks_mut::<4>();
            for pixel in pixels {
                let [a, b, c, black] = *pixel;
                // The first three components of YCCK become RGB, which is the amount of the complementary ink.
                let ink = match transform {
                    Transform::Ycck => rgb_of_ycbcr([a, b, c]),
                    _ => [255 - a, 255 - b, 255 - c],
                };
                *pixel = [ink[0], ink[1], ink[2], 255 - black];
            }
            (Channels::Cmyk, samples)
        }
    })
}

/// ITU-R BT.601, full range, as in JFIF.
fn rgb_of_ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    // `as` saturates.
    rgb.map(|value| value.round() as u8)
}
