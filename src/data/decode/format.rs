//! Format detection by content.

use image::ImageFormat;

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    /// Including BigTIFF.
    Tiff,
    /// PNG, WebP, BMP or GIF.
    Stock(ImageFormat),
}

impl Format {
    /// The format of a file with these bytes, or what it is instead.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("is empty".to_string());
        }
        // BigTIFF differs in the third byte.
        if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
            return Ok(Self::Tiff);
        }
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        match image::guess_format(bytes) {
            Ok(Jpeg) => Ok(Self::Jpeg),
            Ok(Tiff) => Ok(Self::Tiff),
            Ok(format @ (Png | WebP | Bmp | Gif)) => Ok(Self::Stock(format)),
            _ => Err(match foreign(bytes) {
                Some(name) => format!("is {name}, which is not read; convert it to PNG or JPEG"),
                None => "is not a PNG, JPEG, WebP, BMP, GIF or TIFF image".to_string(),
            }),
        }
    }
}

/// Other picture formats that often occur among images.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12).and_then(|bytes| bytes.strip_prefix(b"ftyp"));
    Some(match brand {
        Some(b"avif" | b"avis") => "an AVIF image",
        Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => "a HEIC image",
        Some(b"crx ") => "raw camera data (CR3)",
        _ if bytes.starts_with(&[0xff, 0x0a]) || bytes.get(4..8) == Some(b"JXL ") => {
            "a JPEG XL image"
        }
        _ if bytes.get(4..8) == Some(b"jP  ") => "a JPEG 2000 image",
        _ if bytes.starts_with(b"8BPS") => "a Photoshop document",
        _ if bytes.starts_with(b"%PDF") => "a PDF document",
        _ => return None,
    })
}
