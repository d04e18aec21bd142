//! Encodes one picture in the format of its file name. It returns bytes; writing the file, atomically, is the caller's
//! part.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

use crate::error::{Error, Result};

/// JPEG quality, of 100: no block artefacts are visible.
const JPEG_QUALITY: u8 = 95;

/// One picture, u8 `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The pixels, row-major.
    pub pixels: Vec<u8>,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
}

/// An output format. All but JPEG are lossless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// `.png`.
    Png,
    /// `.jpg`, `.jpeg`: lossy, at quality 95.
    Jpeg,
    /// `.webp`, lossless.
    WebP,
    /// `.bmp`.
    Bmp,
    /// `.tif`, `.tiff`.
    Tiff,
}

impl PictureFormat {
    /// The extensions of [`PictureFormat::of_extension`].
    pub const EXTENSIONS: &str = "png, jpg, jpeg, webp, bmp, tif, tiff";

    /// The format of files with this extension, in any case.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            "bmp" => Some(Self::Bmp),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }

    fn image_format(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}

impl Picture {
    /// Encodes the picture. Equal pictures give equal bytes.
    ///
    /// # Errors
    /// A size that the format does not support (WebP: 16,383 pixels per side).
    pub fn encode(&self, format: PictureFormat) -> Result<Vec<u8>> {
        let color =
            if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        let encoded =
            match format {
                PictureFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
                    .encode(&self.pixels, width, height, color),
                _ => image::write_buffer_with_format(
                    &mut bytes,
                    &self.pixels,
                    width,
                    height,
                    color,
                    format.image_format(),
                ),
            };
        encoded.map_err(|error| {
            Error::invalid(format!("cannot encode {width} x {height} pixels: {error}"))
        })?;
        Ok(bytes.into_inner())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_what_its_extension_says_and_keeps_the_pixels() {
        for extension in PictureFormat::EXTENSIONS.split(", ") {
            let format = PictureFormat::of_extension(&extension.to_uppercase()).unwrap();
            for channels in [1, 3] {
                let pixels: Vec<u8> = (0..4 * 6 * channels as u8).collect();
                let picture = Picture { pixels, height: 4, width: 6, channels };
                let bytes = picture.encode(format).unwrap();
                assert_eq!(bytes, picture.encode(format).unwrap());
                assert_eq!(
                    image::guess_format(&bytes).unwrap(),
                    ImageFormat::from_extension(extension).unwrap()
                );
                let decoded = image::load_from_memory(&bytes).unwrap();
                assert_eq!((decoded.width(), decoded.height()), (6, 4));
                if format == PictureFormat::Jpeg {
                    continue;
                }
                let decoded = match channels {
                    1 => decoded.into_luma8().into_raw(),
                    _ => decoded.into_rgb8().into_raw(),
                };
                assert_eq!(decoded, picture.pixels, "{extension}");
            }
        }
        assert_eq!(PictureFormat::of_extension("json"), None);
    }
}
