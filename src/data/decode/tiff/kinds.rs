//! The kinds of TIFF: the meaning of the numbers in tags, and which of them are decoded.

use super::super::raster::Alpha;
use super::{damaged, unusual};

/// What the colour samples of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Photometric {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
    /// CIE L*a*b* with signed a* and b*.
    CieLab,
    /// The same, with an offset instead of a sign.
    IccLab,
}

/// The type of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Unsigned,
    Signed,
    Float,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    Jpeg,
    /// CCITT group 4.
    Fax4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    Horizontal,
    Float,
}

/// Colour samples per pixel.
pub(super) fn n_colours(photometric: Photometric) -> usize {
    match photometric {
        Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Palette => 1,
        Photometric::Cmyk => 4,
        _ => 3,
    }
}

pub(super) fn photometric(number: u32) -> Result<Photometric, String> {
    Ok(match number {
        0 => Photometric::WhiteIsZero,
        1 => Photometric::BlackIsZero,
        2 => Photometric::Rgb,
        3 => Photometric::Palette,
        5 => Photometric::Cmyk,
        6 => Photometric::YCbCr,
        8 => Photometric::CieLab,
        9 => Photometric::IccLab,
        4 => return Err(unusual("that is a transparency mask")),
        other => return Err(unusual(&format!("of photometric kind {other}"))),
    })
}

/// Which sample is alpha. Extra samples of unspecified meaning are skipped, as the specification asks; every viewer
/// treats four samples of RGB without any declaration as RGBA.
pub(super) fn alpha(
    photometric: Photometric,
    n_samples: usize,
    extra: &[u16],
) -> Result<(Alpha, usize), String> {
    let n_colours = n_colours(photometric);
    if n_samples < n_colours {
        return Err(damaged(format!("{photometric:?} has {n_samples} samples per pixel")));
    }
    let n_extra = n_samples - n_colours;
    if extra.is_empty() && n_extra > 0 {
        return match (photometric, n_extra) {
            (Photometric::Rgb, 1) => Ok((Alpha::Straight, n_colours)),
            _ => Err(unusual(&format!(
                "of {n_samples} samples per pixel that does not say what they are"
            ))),
        };
    }
    let found = extra.iter().take(n_extra).position(|kind| matches!(kind, 1 | 2));
    Ok(match found {
        Some(i) if extra[i] == 1 => (Alpha::Premultiplied, n_colours + i),
        Some(i) => (Alpha::Straight, n_colours + i),
        None => (Alpha::None, 0),
    })
}

pub(super) fn format(number: Option<u16>) -> Result<Format, String> {
    match number {
        // 4 is undefined, to be treated as unsigned according to the specification.
        None | Some(1 | 4) => Ok(Format::Unsigned),
        Some(2) => Ok(Format::Signed),
        Some(3) => Ok(Format::Float),
        Some(_) => Err(unusual("of complex numbers")),
    }
}

pub(super) fn compression(number: u16) -> Result<Compression, String> {
    let name = match number {
        1 => return Ok(Compression::None),
        4 => return Ok(Compression::Fax4),
        5 => return Ok(Compression::Lzw),
        7 => return Ok(Compression::Jpeg),
        8 | 32_946 => return Ok(Compression::Deflate),
        32_773 => return Ok(Compression::PackBits),
        2 | 3 | 32_771 => "CCITT group 3",
        6 => "the JPEG of TIFF 6.0",
        34_712 => "JPEG 2000",
        34_887 => "LERC",
        34_925 => "LZMA",
        50_000 => "Zstandard",
        50_001 => "WebP",
        50_002 => "JPEG XL",
        _ => return Err(unusual(&format!("in compression {number}"))),
    };
    Err(unusual(&format!("in the compression {name}")))
}
