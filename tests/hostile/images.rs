//! Images: other people's decoders on other people's files. A flipped bit may give another image; it must not give
//! a panic, and what cannot be decoded says its name.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use vqgen::data::{Target, decode_bytes, decode_file};

use super::damage::{cuts, flips};

const TARGET: Target = Target { image_size: 4, channels: 3, background: [255; 3] };

fn encoded(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(6, 5, |x, y| image::Rgb([(x * 40) as u8, (y * 50) as u8, 7]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Decodes damaged versions of `whole` and counts those that still gave an image.
fn accepted(damaged: impl Iterator<Item = Vec<u8>>) -> usize {
    let decoded = damaged.filter(|bytes| match decode_bytes("a.img", bytes, &TARGET) {
        Ok(pixels) => {
            assert_eq!(pixels.len(), TARGET.n_bytes());
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("a.img: "), "{error}");
            false
        }
    });
    decoded.count()
}

#[test]
fn a_png_with_a_flipped_bit_or_a_missing_end_is_hardly_ever_accepted() {
    let whole = encoded(ImageFormat::Png);
    // Checksums cover all but the chunk that ends the file, which carries nothing.
    assert!(accepted(cuts(&whole)) <= 12);
    let accepted = accepted(flips(&whole));
    assert!(accepted <= 12 * 8, "{accepted} of {} bits", whole.len() * 8);
}

#[test]
fn damaged_images_of_the_other_formats_are_errors_or_images() {
    for format in [ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = encoded(format);
        accepted(cuts(&whole));
        accepted(flips(&whole));
    }
}

#[test]
fn a_damaged_tiff_is_an_error_or_an_image() {
    // A TIFF of any size is mostly a table of contents; every third bit is enough of it.
    let whole = encoded(ImageFormat::Tiff);
    accepted(cuts(&whole));
    accepted(flips(&whole).step_by(3));
}

#[test]
fn damaged_images_with_metadata_and_palettes_are_errors_or_images() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
    for name in ["orientation_6.png", "palette.png", "lossy.webp", "animated.webp", "animated.gif"]
    {
        let whole = std::fs::read(folder.join(name)).unwrap();
        accepted(cuts(&whole));
        accepted(flips(&whole));
    }
    for name in ["orientation_6.jpg", "cmyk.jpg", "progressive.jpg", "cmyk.tif"] {
        // Sampled: these have hundreds of bytes of tables.
        let whole = std::fs::read(folder.join(name)).unwrap();
        accepted(cuts(&whole).step_by(3));
        accepted(flips(&whole).step_by(7));
    }
}

#[test]
fn what_is_not_an_image_names_the_file_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lie.png");
    for bytes in
        [&b""[..], b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0\xff\xff\xff\xff", b"RIFF"]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = decode_file(&path, &TARGET).unwrap_err().to_string();
        assert!(error.contains("lie.png: "), "{error}");
    }
}
