//! Encodes one picture in the format of its file name, a PNG with a text on what made it, and reads that text again. It
//! returns bytes; writing the file, atomically, is the caller's part.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

use crate::error::{Error, Result};

/// Keyword of the text chunk of a PNG that holds what made the picture.
const KEYWORD: &str = "vqgen";

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
        self.encode_with(format, None)
    }

    /// As [`Self::encode`]; a PNG also holds `text`, which [`picture_text`] reads. The other formats have no place for it
    /// that every program keeps.
    pub fn encode_with(&self, format: PictureFormat, text: Option<&str>) -> Result<Vec<u8>> {
        let color =
            if self.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        let fail = |reason: String| {
            Error::invalid(format!("cannot encode {width} x {height} pixels: {reason}"))
        };
        match format {
            PictureFormat::Png => {
                self.png(text, &mut bytes).map_err(|error| fail(error.to_string()))?;
            }
            PictureFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
                .encode(&self.pixels, width, height, color)
                .map_err(|error| fail(error.to_string()))?,
            _ => image::write_buffer_with_format(
                &mut bytes,
                &self.pixels,
                width,
                height,
                color,
                format.image_format(),
            )
            .map_err(|error| fail(error.to_string()))?,
        }
        Ok(bytes.into_inner())
    }

    /// As the crate `image` encodes, with a text chunk.
    fn png(
        &self,
        text: Option<&str>,
        bytes: &mut Cursor<Vec<u8>>,
    ) -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(bytes, self.width as u32, self.height as u32);
        encoder.set_color(if self.channels == 1 {
            png::ColorType::Grayscale
        } else {
            png::ColorType::Rgb
        });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Adaptive);
        if let Some(text) = text {
            encoder.add_itxt_chunk(KEYWORD.to_owned(), text.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }
}

/// The text that [`Picture::encode_with`] put into the PNG at `path`; `None` for one without.
///
/// # Errors
/// A file that cannot be read or is no PNG.
pub fn picture_text(path: &Path) -> Result<Option<String>> {
    let cannot = |error| Error::io("read", path, error);
    // The path's metadata first: opening a pipe would block until there is a writer.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(Error::file(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(cannot)?;
    let decoder = png::Decoder::new(BufReader::new(file));
    let reader = decoder
        .read_info()
        .map_err(|error| Error::file(path, format!("cannot be read as PNG: {error}")))?;
    let texts = &reader.info().utf8_text;
    // Written uncompressed; to decompress what others wrote would need a bound.
    let ours = texts.iter().find(|chunk| chunk.keyword == KEYWORD && !chunk.compressed);
    Ok(ours.and_then(|chunk| chunk.get_text().ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_png_keeps_its_text_and_its_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let picture = Picture { pixels: (0..72).collect(), height: 4, width: 6, channels: 3 };
        let text = "{\"prompt\":\"r\u{e9}d \u{1f431}\"}";
        for text in [Some(text), Some(""), None] {
            let bytes = picture.encode_with(PictureFormat::Png, text).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(picture_text(&path).unwrap().as_deref(), text);
            let decoded = image::load_from_memory(&bytes).unwrap().into_rgb8().into_raw();
            assert_eq!(decoded, picture.pixels);
        }
        // Cut anywhere before the pixels, it is refused.
        let bytes = picture.encode_with(PictureFormat::Png, Some(text)).unwrap();
        for len in [0, 8, 20, 60] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(picture_text(&path).unwrap_err().to_string().contains("as PNG"), "{len}");
        }
        std::fs::write(&path, b"\xff\xd8\xff\xe0 no PNG").unwrap();
        assert!(picture_text(&path).is_err() && picture_text(dir.path()).is_err());
    }

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
