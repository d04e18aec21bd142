//! What an image's header says, without decoding it.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{ImageDecoder, ImageReader};

/// An image as stored, before its orientation is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Width and height in pixels.
    pub(crate) size: [usize; 2],
    /// Whether it is stored without colour.
    pub(crate) is_grey: bool,
}

impl Header {
    /// That of the file at `path`; `None` where it cannot be read.
    pub(crate) fn of_file(path: impl AsRef<Path>) -> Option<Self> {
        let path = path.as_ref();
        // Opening a pipe would block until there is a writer.
        let is_regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        Self::of(BufReader::new(is_regular.then(|| File::open(path).ok()).flatten()?))
    }

    /// That of an image in memory or a file; `None` where it cannot be read.
    pub(crate) fn of(image: impl BufRead + Seek) -> Option<Self> {
        // A panic in a third-party decoder must not end the program: see `super::decode`.
        catch_unwind(AssertUnwindSafe(|| {
            let decoder =
                ImageReader::new(image).with_guessed_format().ok()?.into_decoder().ok()?;
            let (width, height) = decoder.dimensions();
            let size = [width as usize, height as usize];
            Some(Self { size, is_grey: !decoder.color_type().has_color() })
        }))
        .ok()?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};

    use super::*;

    #[test]
    fn size_and_colour_are_read_from_every_format_and_damage_is_no_header() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::Bmp] {
            for (image, is_grey) in
                [(DynamicImage::new_luma8(30, 20), true), (DynamicImage::new_rgb8(30, 20), false)]
            {
                let mut bytes = Cursor::new(Vec::new());
                image.write_to(&mut bytes, format).unwrap();
                let bytes = bytes.into_inner();
                let header = Header::of(Cursor::new(&bytes)).unwrap();
                assert_eq!(header.size, [30, 20], "{format:?}");
                // A grey BMP has a palette, which may hold any colour.
                assert_eq!(header.is_grey, is_grey && format != ImageFormat::Bmp, "{format:?}");
                assert_eq!(Header::of(Cursor::new(&bytes[..8])), None);
            }
        }
        assert_eq!(Header::of_file("no/such/file.png"), None);
    }
}
